"""Splits of texts, and data that a language model cannot be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from generation_data import Command, configured, play

from app.tasks import get_task
from data.prepared import prepare
from data.sources import open_source


def joined(rows: Mapping[str, list[Mapping[str, np.ndarray]]]) -> dict[str, str]:
    """Return the whole text of each split."""
    return {
        split: b"".join(text for batch in batches for text in batch["text"]).decode()
        for split, batches in rows.items()
    }


def rows_of(data: Path, cache: Path) -> dict[str, str]:
    """Return the text of each split."""
    config = configured(f"data.directory={cache}")
    examples = get_task("generation").examples
    fields = examples.fields(config)
    source = open_source(str(data), fields, examples.shapes)
    dataset = prepare(source, fields, directory=cache, splitting=config.splitting())
    return joined({split: list(dataset.batches(split)) for split in dataset.sizes})


@pytest.mark.parametrize("piece", [1 << 16, 100])
def test_a_text_is_split_by_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """The first 90 % of a text are for training, the next 5 % for validation, the last 5 % for testing."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", piece)
    text = play()
    (tmp_path / "play.txt").write_text(text)

    splits = rows_of(tmp_path / "play.txt", tmp_path / "cache")

    first, second = round(len(text) * 0.9), round(len(text) * 0.95)
    assert splits == {"train": text[:first], "validation": text[first:second], "test": text[second:]}


@pytest.mark.parametrize("piece", [1 << 16, 100])
def test_the_end_of_a_training_text_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Of a folder with only a training text, the end of the text is for validation, even of a short text."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", piece)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.txt").write_text(play())

    splits = rows_of(tmp_path / "data", tmp_path / "cache")

    end = round(len(play()) * 0.95)
    assert splits == {"train": play()[:end], "validation": play()[end:]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "play.txt: no examples; expected at least one"),
        (b"\xef\xbb\xbf", "play.txt: no examples; expected at least one"),
        (b"One.\nTwo \xff.\n", "play.txt: not UTF-8: byte 0xff in line 2"),
        (b"a", "no example is left for validation"),
    ],
)
def test_texts_that_cannot_be_learned_from(
    command: Command, tmp_path: Path, content: bytes, message: str
) -> None:
    """A file without text, of one character or not in UTF-8 is refused in one line, and no run is created."""
    (tmp_path / "play.txt").write_bytes(content)

    result = command("train", "generation", tmp_path / "play.txt", "--run", tmp_path / "run")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("model.layers=0", "One. Two. " * 20, "model.layers = 0: expected greater than or equal to 1"),
        ("text.tokens=word", "   \t " * 50, "each text of the train split is empty or white space"),
    ],
)
def test_what_cannot_be_trained(
    command: Command, tmp_path: Path, option: str, content: str, message: str
) -> None:
    """A network without recurrent layers, and a text without tokens, are refused before a run is created."""
    (tmp_path / "play.txt").write_text(content)

    result = command("train", "generation", tmp_path / "play.txt", "--run", tmp_path / "run", "--set", option)

    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
