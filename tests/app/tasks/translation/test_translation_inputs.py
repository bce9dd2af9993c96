"""Files that a translator predicts for: the source side of pairs, in every format."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from translators import Command

import app.prediction.loading
from app.prediction.loading import load_predictor


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.prediction.loading, "load_predictor", functools.cache(load_predictor))
        yield


SIDES = ("--set", "data.source=en", "--set", "data.target=de")


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("in.txt", "two one.\nfive.\n", ()),
        ("in.en", "two one.\nfive.\n", SIDES),
        ("in.en", "two one.\nfive.\n", ("--format", "txt")),
        (
            "in.tsv",
            "two one.\teins zwei.\nfive.\tfünf.\n",
            ("--set", "data.source=1", "--set", "data.header=false"),
        ),
        ("in.csv", "target,source\nx,two one.\n\n,five.\n", ()),
        ("in.jsonl", '{"source": "two one.", "target": ""}\n\n{"source": "five."}\n', ()),
        ("in.csv", "english\ntwo one.\nfive.\n", ("--text-column", "english")),
    ],
)
def test_sources(
    command: Command, translator: Path, tmp_path: Path, name: str, content: str, options: tuple[str, ...]
) -> None:
    """The source texts have the same translations, wherever they are; targets are ignored."""
    (tmp_path / name).write_text(content)
    expected = command("predict", translator, stdin="two one.\nfive.\n").stdout

    result = command("predict", translator, tmp_path / name, *options)

    assert (result.exit_code, result.stdout) == (0, expected), result.stderr


@pytest.mark.parametrize("name", ["in.de", "in.fr"])
def test_the_other_side(command: Command, translator: Path, tmp_path: Path, name: str) -> None:
    """The side of the target is no input."""
    (tmp_path / name).write_text("zwei eins.\n")

    result = command("predict", translator, tmp_path / name, *SIDES)

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{name[2:]} format; a translation model reads" in result.stderr
    assert ".en" in result.stderr


def test_a_folder_of_pairs(command: Command, translator: Path, tmp_path: Path) -> None:
    """Of a folder of pairs the source side is read; the other one is said to be left."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in ("test.en", "test.de"):
        (folder / name).write_text("two one.\n")

    result = command("predict", translator, folder, *SIDES)

    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == ["test.en"]
    assert "not read: test.de" in result.stderr
