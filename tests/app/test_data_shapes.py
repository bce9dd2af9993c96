"""The table of docs/data.md: each command trains on data of the shape next to it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow_datasets as tfds
from click.testing import Result
from data_shapes import SHAPES, Files

from app.artifacts.run import read_run_manifest
from app.training.fit import Fit
from data.errors import UserError

Command = Callable[..., Result]
PAGE = Path(__file__).parents[2] / "docs/data.md"
BEGINS = "the training begins"
ENCODINGS = ("utf-8", "utf-16-le", "windows-1252")


class Shape(NamedTuple):
    """A row of the table."""

    name: str
    snippets: tuple[str, ...]
    """Names and contents of files."""
    command: str


def shapes() -> Iterator[Shape]:
    """Yield the rows of the table."""
    section = PAGE.read_text(encoding="utf-8").split("## Shapes of data")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    for row in rows[1:]:
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        name, look, command = cells
        yield Shape(name, tuple(re.findall("`([^`]+)`", look)), command.strip("`"))


TABLE = list(shapes())


def shown(snippet: str, files: Files) -> bool:
    """Return whether a snippet is the name of a file, or the end of one, or is in a file."""
    if any(name == snippet or (snippet.startswith(".") and name.endswith(snippet)) for name in files):
        return True
    return any(snippet.encode(encoding) in content for content in files.values() for encoding in ENCODINGS)


@pytest.fixture
def _stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training end when it begins."""

    def events(fit: Any) -> None:
        raise UserError(BEGINS)

    monkeypatch.setattr(Fit, "events", events)


@pytest.fixture
def _catalogue(tmp_path: Path) -> Iterator[None]:
    """Let the catalogue have a few examples of `imdb_reviews`."""
    path = tmp_path / "metadata"
    builder = tfds.builder("imdb_reviews", data_dir=path)
    own = path / "imdb_reviews/plain_text/1.0.0"
    own.mkdir(parents=True)
    builder.info.features.save_metadata(own)
    split = {
        "shardLengths": ["40"],
        "numBytes": "100",
        "filepathTemplate": "{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {
        "name": "imdb_reviews",
        "version": "1.0.0",
        "configName": "plain_text",
        "fileFormat": "tfrecord",
        "splits": [{"name": name, **split} for name in ("train", "test")],
    }
    (own / "dataset_info.json").write_text(json.dumps(info))
    with tfds.testing.mock_data(num_examples=40, data_dir=str(path)):
        yield


def test_every_shape_is_tested() -> None:
    """The table has a row for each shape that the tests know, and no other."""
    assert [shape.name for shape in TABLE] == list(SHAPES)


@pytest.mark.usefixtures("_stops")
@pytest.mark.parametrize("shape", TABLE, ids=[shape.name for shape in TABLE])
def test_the_command_trains(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    shape: Shape,
) -> None:
    """Data that looks as the table says is read by the command, up to the first step of the training."""
    monkeypatch.chdir(tmp_path)
    if "tfds:" in shape.command:
        request.getfixturevalue("_catalogue")
    files = SHAPES[shape.name]()
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    assert [snippet for snippet in shape.snippets if files and not shown(snippet, files)] == []

    program, *words = shlex.split(shape.command)
    assert program == "textrnn"
    small = ["--set", "model.units=4", "--set", "training.epochs=1"]
    small += ["--set", "text.tokens=word"] if "translation" in words else []
    alike = [name for name in files if name.startswith("reviews.csv.")] or [""]
    for i, other in enumerate(alike):
        typed = [other if word == alike[0] else word for word in words]
        result = command(*typed, *small, "--run", f"run{i}")
        assert result.stderr.endswith(f"Error: {BEGINS}\n"), result.stderr
        assert read_run_manifest(Path(f"run{i}")).examples["train"] >= 1
