"""Prepared datasets of tokens and tags, and optional values."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.formats import Field
from data.prepared import prepare
from data.scan import Scan
from data.sources import Source, open_source

TAGGING = (
    Field("tokens", "tokens", "tokens", "--set data.token_column=NAME"),
    Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",)),
    Field("text", "text", "text", "--set data.text_column=NAME", optional=True),
    Field("label", "label", "label", "--set data.label_column=NAME", optional=True),
)


def find(data: Path) -> Source:
    source = open_source(str(data), TAGGING, ("records",))
    assert isinstance(source, Source)
    return source


def snapshot(directory: Path) -> dict[Path, int]:
    """Return the modification time of each file in a directory."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def tagged(folder: Path, **splits: list[dict[str, Any]]) -> Source:
    """Write JSON Lines for each split, and return the source of their folder."""
    folder.mkdir()
    for split, content in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return find(folder)


def test_tokens_and_tags_are_prepared(tmp_path: Path, directory: Path) -> None:
    """Examples have any number of tokens, also 0; the names of the tags of all splits are sorted."""
    source = tagged(
        tmp_path / "a",
        train=[
            {"tokens": ["Ein", "Hund", "."], "upos": ["DET", "NOUN", "."]},
            {"tokens": [], "upos": []},
            {"tokens": ["New York"], "upos": ["NOUN"]},
        ],
        test=[{"tokens": ["中"], "tags": ["X"]}],
    )
    scans: list[Scan] = []
    dataset = prepare(source, TAGGING, directory=directory, check=lambda found: scans.append(found) or ())

    (batch,) = dataset.batches("train")
    assert set(batch) == {"tokens", "tags"}
    assert [[token.decode() for token in row] for row in batch["tokens"]] == [
        ["Ein", "Hund", "."],
        [],
        ["New York"],
    ]
    assert dataset.names == {"tags": (".", "DET", "NOUN", "X")}
    assert [row.tolist() for row in batch["tags"]] == [[1, 2, 0], [], [2]]
    (batch,) = dataset.batches("test")
    assert [row.tolist() for row in batch["tags"]] == [[3]]
    assert scans[0].names == {
        "tags": {"train": Counter({"DET": 1, "NOUN": 2, ".": 1}), "test": Counter({"X": 1})}
    }
    assert scans[0].labels() == {}
    assert scans[0].characters == Counter(train=8 + 8 + 8 + 4, test=1 + 1)


def test_sequences_of_one_length_are_an_array_of_arrays(tmp_path: Path, directory: Path) -> None:
    """A batch is an array of arrays even if all its examples have the same length."""
    rows = [{"tokens": ["a", "b"], "upos": ["X", "Y"]}, {"tokens": ["c", "d"], "upos": ["Y", "Y"]}]
    dataset = prepare(tagged(tmp_path / "a", train=rows), TAGGING, directory=directory)

    (batch,) = dataset.batches("train")
    assert batch["tags"].shape == (2,)
    assert [row.tolist() for row in batch["tags"]] == [[0, 1], [1, 1]]
    assert [row.tolist() for row in batch["tokens"]] == [[b"a", b"b"], [b"c", b"d"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_sequences_stay_in_order(tmp_path: Path, directory: Path, size: int) -> None:
    """Batches of any size have complete sequences."""
    content = [{"tokens": [f"{i}.{j}" for j in range(i % 4)], "upos": ["X"] * (i % 4)} for i in range(7)]
    dataset = prepare(tagged(tmp_path / "a", train=content), TAGGING, directory=directory)

    found = [row.tolist() for batch in dataset.batches("train", size) for row in batch["tokens"]]
    assert found == [[token.encode() for token in row["tokens"]] for row in content]


def test_an_optional_value_that_no_example_has(tmp_path: Path, directory: Path) -> None:
    """A field that no example has is not stored; one that all examples have is."""
    row = {"tokens": ["a"], "upos": ["X"]}
    bare = prepare(tagged(tmp_path / "bare", train=[row]), TAGGING, directory=directory)
    full = prepare(
        tagged(
            tmp_path / "full", train=[row | {"text": "a!", "label": "y"}, row | {"text": "", "label": "x"}]
        ),
        TAGGING,
        directory=directory,
    )

    assert set(bare.columns) == {"tokens", "tags"}
    assert set(full.columns) == {"tokens", "tags", "text", "label"}
    (batch,) = full.batches("train")
    assert batch["text"].tolist() == [b"a!", b""]
    assert batch["label"].tolist() == [1, 0]
    assert full.names == {"tags": ("X",), "label": ("x", "y")}


def test_an_optional_text_that_some_examples_have(tmp_path: Path, directory: Path) -> None:
    """It is empty in the other examples, in every split."""
    row = {"tokens": ["a"], "upos": ["X"]}
    source = tagged(tmp_path / "a", train=[row, row | {"text": "b"}], test=[row])
    dataset = prepare(source, TAGGING, directory=directory)

    assert [batch["text"].tolist() for batch in dataset.batches("all")] == [[b"", b"b"], [b""]]


def test_a_label_that_some_examples_have_is_refused(tmp_path: Path, directory: Path) -> None:
    """No class means no label; the message counts the examples; nothing is written."""
    row = {"tokens": ["a"], "upos": ["X"]}
    source = tagged(tmp_path / "a", train=[row | {"label": "x"}] * 3, test=[row] * 1_200)

    with pytest.raises(UserError) as caught:
        prepare(source, TAGGING, directory=directory)
    first = ", ".join(f"{tmp_path / 'a' / 'test.jsonl'}:{line}" for line in (1, 2, 3))
    assert str(caught.value) == (
        f"1,200 of 1,203 examples have no label ({first}, and 1,197 more); "
        "add it to all examples or to none; 'textrnn datasets check DATA --all' lists all"
    )
    assert not snapshot(directory)
