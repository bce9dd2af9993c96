"""Runs and exports of language models, shared by the tests of generation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from generation_data import SETTINGS, SMALL, Command, Model, Models, greek, labelled_rows, play
from trained import export_quickly

from app.prediction.loading import load_predictor

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def models(once: Once, command: Command, jsonl: Callable[..., None]) -> Models:
    """Return a function from a kind of token to a model: of a text, texts with labels, Greek, subwords."""

    def make(kind: str, folder: Path) -> None:
        (folder / "play.txt").write_text(play())
        (folder / "greek.txt").write_text(greek())
        jsonl(folder / "rows.jsonl", labelled_rows())
        pairs = [*(f"{key}={value}" for key, value in SMALL.items()), *SETTINGS[kind]]
        words = [word for pair in pairs for word in ("--set", pair)]
        result = command("train", "generation", folder / _data(kind), "--run", folder / "run", *words)
        assert result.exit_code == 0, result.stderr
        (folder / "messages").write_text(result.stderr)

    @functools.cache
    def model(kind: str) -> Model:
        folder = once(f"generation {kind}", lambda folder: make(kind, folder))
        path = folder / "run"
        return Model(path, folder / _data(kind), (folder / "messages").read_text(), load_predictor(path))

    return model


def _data(kind: str) -> str:
    return {"word": "rows.jsonl", "byte": "greek.txt"}.get(kind, "play.txt")


@pytest.fixture(scope="session")
def exports(once: Once, models: Models) -> Callable[[str], Path]:
    """Return a function from a kind of token to the export of its model."""

    def make(kind: str) -> Path:
        path = models(kind).path
        folder = once(f"generation {kind} export", lambda folder: export_quickly(path, output=folder / kind))
        return folder / kind / "1"

    return make


@pytest.fixture(scope="session")
def char(models: Models) -> Model:
    """Return the model of characters of one text."""
    return models("char")


@pytest.fixture(scope="session")
def word(models: Models) -> Model:
    """Return the model of words of documents with labels."""
    return models("word")
