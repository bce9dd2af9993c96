"""Runs and exports of taggers, and data, shared by the tests of tagging."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tagging_data import (
    CONLLU,
    NO_DROPOUT,
    TINY,
    Command,
    Jsonl,
    sample_rows,
    settings,
    trained,
    unlabelled,
)
from trained import export_quickly

import app.evaluate
import app.prediction.loading

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(app.prediction.loading.load_predictor)
        patch.setattr(app.prediction.loading, "load_predictor", once)
        patch.setattr(app.evaluate, "load_predictor", once)
        yield


@pytest.fixture(scope="session")
def joint(once: Once, command: Command) -> Path:
    """Return a run without a CRF on the sample, with slots and intents."""

    def make(folder: Path) -> None:
        own = ("training.batch_size=16", "training.epochs=2", "model.units=12", "model.crf=false")
        options = settings(*TINY, *NO_DROPOUT, *own)
        result = command(
            "train", "tagging", "sample:tags", "--preset", "fast", *options, "--run", folder / "run"
        )
        assert result.exit_code == 0, result.stderr

    return once("tagging joint", make) / "run"


@pytest.fixture(scope="session")
def exported(once: Once, joint: Path) -> Path:
    """Return the export of the run on the sample."""
    folder = once("tagging joint export", lambda folder: export_quickly(joint, output=folder / "joint"))
    return folder / "joint" / "1"


@pytest.fixture(scope="session")
def crf(once: Once, jsonl: Jsonl) -> Path:
    """Return a run with a CRF, after its first epoch, on examples without labels and texts."""

    def make(folder: Path) -> None:
        for split, size in (("train", 48), ("validation", 8), ("test", 8)):
            jsonl(folder / "data" / f"{split}.jsonl", unlabelled(sample_rows(split, size)))
        options = ("model.crf=true", "model.layers=1", "training.batch_size=24")
        trained(folder / "data", folder / "run", *options)

    return once("tagging crf", make) / "run"


@pytest.fixture(scope="session")
def crf_export(once: Once, crf: Path) -> Path:
    """Return the export of the run with a CRF."""
    return once("tagging crf export", lambda folder: export_quickly(crf, output=folder / "crf")) / "crf" / "1"


@pytest.fixture(scope="session")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four sentences in CoNLL-U: number, form and part of speech of each line."""
    folder = tmp_path_factory.mktemp("treebank") / "bank"
    folder.mkdir()
    blocks = []
    for text, lines in CONLLU.items():
        cells = [line.split(" ") for line in lines]
        rows = [[number, form, "_", tag, f"X{tag}", *["_"] * 5] for number, form, tag in cells]
        blocks.append("\n".join([f"# text = {text}", *("\t".join(row) for row in rows)]) + "\n\n")
    for split in ("train", "validation", "test"):
        (folder / f"{split}.conllu").write_text("".join(blocks), encoding="utf-8")
    return folder
