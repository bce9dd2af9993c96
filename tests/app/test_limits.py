"""Limits of the machine, memory and disk, end in one line; other unexpected errors stay tracebacks."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import Result
from trained import PLAIN, overrides

from app.training.fit import Fit

Command = Callable[..., Result]
TINY = overrides(*PLAIN, "model.units=4", "model.embedding_size=4", "training.epochs=1")


def raising(error: Exception) -> Callable[..., object]:
    """Return a function that raises an error."""

    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


OUT_OF_MEMORY = (
    MemoryError(),
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,30000,128]"),
    tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_training_without_enough_memory(
    command: Command, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The message names a key that helps, and the command takes it."""
    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_add_step", raising(error))
        result = command("train", "classification", reviews, "--run", tmp_path / "run", *TINY)

    assert result.exit_code == 1
    *_, message = result.stderr.splitlines()
    assert message.startswith("Error: out of memory; ")
    key = re.search(r"--set ([\w.]+)=N", message)
    assert key
    options = (*TINY, "--set", f"{key[1]}=2", "--run", tmp_path / "other")
    assert command("train", "classification", reviews, *options).exit_code == 0


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_prediction_without_enough_memory(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The message says what to do about the input."""
    monkeypatch.setattr("app.prediction.predictor.Predictor.run", raising(error))

    result = command("predict", run, stdin="good\n")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: out of memory; shorten the longest texts\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "runs/a/model.keras"),
        tf.errors.ResourceExhaustedError(None, None, "/data/x: No space left on device"),
    ],
    ids=str,
)
def test_a_full_disk(command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A full disk is named as such."""
    monkeypatch.setattr("app.export.export", raising(error))

    result = command("export", run)

    assert result.exit_code == 1
    assert re.fullmatch("Error: .*[Nn]o space left on device.*\n", result.stderr)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        KeyError("a bug"),
        RecursionError("a bug"),
        tf.errors.InvalidArgumentError(None, None, "a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_bugs_are_not_hidden(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An error that is nobody's mistake and no limit is raised."""
    monkeypatch.setattr("app.export.export", raising(error))

    with pytest.raises(type(error), match="a bug"):
        command("export", run)
