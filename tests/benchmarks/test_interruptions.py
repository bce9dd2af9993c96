"""The harness that interrupts trainings, in its short form."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import interruptions
from benchmarks.interruptions import Case, differences


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Return a case whose training was interrupted and compared."""
    found = Case("classification", tmp_path_factory.mktemp("interrupted") / "case", random.Random(0))
    assert found.run(3, 2) == []
    return found


def test_interrupted_trainings(case: Case) -> None:
    """Killed and failed trainings end with the bits of one that was not interrupted."""
    assert case.kills >= 3
    assert sum(case.faults.values()) >= 2
    assert case.ends >= 1


def test_differences_are_seen(case: Case, tmp_path: Path) -> None:
    """A run that differs in one bit, or in one line, is told apart."""
    whole, other = case.folder / "whole", tmp_path / "run"
    shutil.copytree(whole, other)
    assert differences(whole, other) == []
    with (other / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    arrays = dict(np.load(other / "checkpoints/state.npz"))
    name = next(name for name, array in arrays.items() if array.dtype == np.float32 and array.size)
    arrays[name].view(np.int32).flat[0] ^= 1
    np.savez(other / "checkpoints/state.npz", **arrays)  # type: ignore[arg-type]

    assert differences(whole, other) == ["other lines of metrics.jsonl", "other arrays of the last state"]


def test_every_training_is_of_the_table() -> None:
    """The names that can be asked for have a task, data and settings."""
    for task, data, *settings in interruptions.TRAININGS.values():
        assert data.startswith("sample:")
        assert task in ("classification", "tagging", "generation", "translation")
        assert all("=" in setting for setting in settings)
