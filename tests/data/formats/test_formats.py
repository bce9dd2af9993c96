"""What every format has in common, and how one is added."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from app.config import load_config
from app.tasks import get_task
from data.errors import UserError
from data.formats import FORMATS, BadRow, Field, Format, Row
from data.prepared import prepare
from data.sources import Source, open_source

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "genre", "--set data.label_column=NAME")
FLAG = Field("continues", "flag", "continues", "", optional=True)
TOKENS = Field("tokens", "tokens", "tokens", "a column 'tokens'")
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME")


def read_packed(stream: BinaryIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield texts with their lengths before them: a binary format."""
    number = 0
    while head := stream.read(4):
        number += 1
        text, _, label = stream.read(struct.unpack("<I", head)[0]).decode().partition("\0")
        yield Row(number, {"text": text, "label": label})


def test_a_format_is_added_by_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that reads its shape prepares its files, compressed or not, binary ones too."""
    monkeypatch.setitem(FORMATS, "packed", Format("packed", read_packed, ("packed",), "records"))
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(50)]
    content = [f"{text}\0{label}".encode() for text, label in rows]
    path = tmp_path / "train.packed"
    path.write_bytes(b"".join(struct.pack("<I", len(part)) + part for part in content))
    task = get_task("classification")
    fields = task.examples.fields(load_config("classification"))

    source = open_source(str(tmp_path), fields, task.examples.shapes)
    assert isinstance(source, Source)
    dataset = prepare(source, fields, directory=tmp_path / "prepared")

    assert dataset.sizes == {"train": 50}
    assert [text.decode() for batch in dataset.batches("train") for text in batch["text"]] == [
        text for text, _ in rows
    ]


def test_names_and_suffixes_are_unique() -> None:
    """A suffix names one format of each shape, and a format's key is its name."""
    suffixes = [(f.shape, suffix) for f in FORMATS.values() for suffix in f.suffixes]

    assert len(set(suffixes)) == len(suffixes)
    assert {name: format.name for name, format in FORMATS.items()} == {name: name for name in FORMATS}


@pytest.mark.parametrize(
    ("name", "fields", "missing"),
    [
        ("txt", (TEXT, FLAG, LABEL), LABEL),
        ("txt", (TEXT, FLAG), None),
        ("lines", (TEXT, LABEL), LABEL),
        ("conll", (TOKENS, TAGS, LABEL), LABEL),
        ("conll", (TOKENS, TAGS, TEXT), TEXT),
        ("conllu", (TOKENS, TAGS, TEXT), None),
        ("conllu", (TOKENS, TAGS, LABEL), LABEL),
        ("conllu", (TOKENS, TAGS, Field("other", "tags", "xpos", "")), Field("other", "tags", "xpos", "")),
        ("csv", (TOKENS, TAGS), TOKENS),
        ("tsv", (TEXT, LABEL, TAGS), TAGS),
        ("csv", (TEXT, Field("target", "text", "b", ""), LABEL), None),
        ("jsonl", (TEXT, LABEL, TOKENS, TAGS, FLAG), None),
    ],
)
def test_a_format_knows_what_it_cannot_hold(
    name: str, fields: tuple[Field, ...], missing: Field | None
) -> None:
    """The first required field that files of the format never have."""
    assert FORMATS[name].missing(fields) == missing


def test_a_label_that_a_text_file_cannot_have_is_refused(tmp_path: Path) -> None:
    """It is refused before rows are read, in a single file and in each file of a folder."""
    task = get_task("generation")
    fields = task.examples.fields(load_config("generation", overrides=["data.label_column=genre"]))
    path = tmp_path / "train.txt"
    path.write_text("To be, or not to be\n")

    for data in (path, tmp_path):
        with pytest.raises(UserError) as caught:
            open_source(str(data), fields, task.examples.shapes)
        assert str(caught.value) == (
            f"{path}: format txt has no column 'genre' (label); use .jsonl, .csv, .tsv"
        )
