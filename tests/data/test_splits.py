"""Splits of examples that have none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.formats import CONTINUES, Field, Row
from data.prepared import prepare
from data.sources import Source, open_source
from data.splits import Splitting, row_hash, split_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
FLAG = Field(CONTINUES, "flag", CONTINUES, "", optional=True)
DOCUMENT = (TEXT, FLAG)
HALVES = Splitting(validation=0.05, test=0.05)
SplitRows = Callable[..., dict[str, list[Row]]]
LABELLED = (TEXT, Field("label", "label", "label", "--set data.label_column=NAME"))


def find(data: Path, *fields: Field) -> Source:
    source = open_source(str(data), fields, ("records", "lines"))
    assert isinstance(source, Source)
    return source


def document(folder: Path, text: str, name: str = "book.txt") -> Source:
    """Write a document, and return its source."""
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    source = open_source(str(path), DOCUMENT, ("document",))
    assert isinstance(source, Source)
    return source


def test_a_file_is_split_by_hash(tmp_path: Path, split_rows: SplitRows) -> None:
    """Examples are in the split of the hash of their text, in the order of the file."""
    content = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(200)]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    found = split_rows(find(path, *LABELLED), LABELLED)

    shares = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
    for name in ("train", "validation", "test"):
        own = [row for row in content if split_of(row_hash({"text": row["text"]}), shares) == name]
        assert len(own) > 5
        assert [row.values for row in found[name]] == own
    assert sum(map(len, found.values())) == 200


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (LABELLED, {"text": "same text", "label": "{}"}),
        ((Field("source", "text", "en", ""), Field("target", "text", "de", "")), {"en": "one", "de": "{}"}),
        (
            (Field("tokens", "tokens", "tokens", ""), Field("tags", "tags", "tags", "")),
            {"tokens": ["a"], "tags": ["{}"]},
        ),
    ],
)
def test_the_first_field_alone_decides_the_split(
    tmp_path: Path, split_rows: SplitRows, fields: tuple[Field, ...], line: dict[str, Any]
) -> None:
    """Copies of a text with other labels, tags or translations are in one split."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line).replace("{}", f"value {i}") + "\n" for i in range(60)))

    assert len(split_rows(find(path, *fields), fields)) == 1


def test_equal_texts_of_a_file_are_in_one_split(tmp_path: Path, split_rows: SplitRows) -> None:
    """No example of the test split is known from training."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {i % 50}\n" for i in range(150)))
    splits: dict[str, set[str]] = {}
    for split, rows in split_rows(find(path, TEXT)).items():
        for row in rows:
            splits.setdefault(row.text(), set()).add(split)

    assert len(splits) == 50
    assert all(len(own) == 1 for own in splits.values())
    assert len(set().union(*splits.values())) == 3


@pytest.mark.parametrize("length", [1, 2, 9, 10, 19, 20, 21, 99, 100, 101, 1_000, 1_009])
@pytest.mark.parametrize("piece", [3, 10, 64, 5_000])
def test_one_text_is_split_by_position(
    tmp_path: Path, split_rows: SplitRows, monkeypatch: pytest.MonkeyPatch, length: int, piece: int
) -> None:
    """The first 90 % of the characters are for training, 5 % each for validation and test."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", piece)
    text = "".join("é\n 中x"[i * i % 5] for i in range(length))

    found = split_rows(document(tmp_path, text), splitting=HALVES)

    texts = {name: "".join(row.text() for row in rows) for name, rows in found.items()}
    train, validation, test = (texts.get(name, "") for name in ("train", "validation", "test"))
    assert train + validation + test == text
    assert len(train) == round(length * 0.9)
    assert len(train) + len(validation) == round(length * 0.95)
    for rows in found.values():
        assert [row.values[CONTINUES] for row in rows] == [i > 0 for i in range(len(rows))]
        assert all(row.text() for row in rows)


def test_the_exact_shares_of_a_document(tmp_path: Path, split_rows: SplitRows) -> None:
    """Of 200 characters 180, 10 and 10 are in the splits, in order."""
    text = "".join(chr(0x4E00 + i) for i in range(200))

    found = split_rows(document(tmp_path, text, "book.txt.gz"), splitting=HALVES)

    assert {name: [row.text() for row in rows] for name, rows in found.items()} == {
        "train": [text[:180]],
        "validation": [text[180:190]],
        "test": [text[190:]],
    }


def test_documents_in_a_folder_are_not_split(tmp_path: Path, split_rows: SplitRows) -> None:
    """Each file is a split."""
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text(f"The {name} text.\n" * 10)
    source = open_source(str(tmp_path), DOCUMENT, ("document",))
    assert isinstance(source, Source)

    found = split_rows(source)

    assert {name: len(rows) for name, rows in found.items()} == {"train": 1, "validation": 1}
    assert found["validation"][0].text() == "The valid text.\n" * 10


def test_a_prepared_document(tmp_path: Path, split_rows: SplitRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and flags are stored unchanged."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", 100)
    text = "A line of some words, é.\r\n" * 100
    source = document(tmp_path, text)

    dataset = prepare(source, DOCUMENT, directory=tmp_path / "prepared")

    stored = {name: list(dataset.batches(name, 4)) for name in dataset.sizes}
    texts = b"".join(piece for batches in stored.values() for batch in batches for piece in batch["text"])
    assert texts.decode() == text
    for name, rows in split_rows(source).items():
        flags = [flag for batch in stored[name] for flag in batch[CONTINUES].tolist()]
        assert flags == [row.values[CONTINUES] for row in rows]
    assert dataset.sizes["train"] > 10
    assert dataset.names == {}
