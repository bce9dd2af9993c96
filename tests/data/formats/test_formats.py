"""The dict of formats, and what all formats of records have in common."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from app.config import load_config
from app.tasks import get_task
from data.errors import UserError
from data.formats import FORMATS, BadRow, Field, Format, Layout, Row, formats_of, read_rows, suffix_of
from data.prepared import prepare
from data.sources import Source, open_source

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
GENRE = Field("label", "label", "genre", "--set data.label_column=NAME")
FLAG = Field("continues", "flag", "continues", "", optional=True)
TOKENS = Field("tokens", "tokens", "tokens", "a column 'tokens'")
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME")
ONE_HOT = Field("label", "labels", "label", "", one_hot=("a", "b"))
BY_SUFFIX = formats_of(("records", "lines"))


def read(path: Path, content: str | bytes, *fields: Field) -> list[Row | BadRow]:
    """Write a file, and return its rows for the fields, by default a text and a label."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, fields or (TEXT, LABEL), BY_SUFFIX[suffix_of(path)]))


def row(line: int, text: str, label: str) -> Row:
    return Row(line, {"text": text, "label": label})


# The same two rows in each format. One text contains separators, the other one is not ASCII.
CONTENT = {
    "jsonl": '{"text": "a, \\"b\\"\\tc", "label": "x"}\n{"label": "y", "text": "ä 中"}\n',
    "csv": 'text,label\n"a, ""b""\tc",x\nä 中,y\n',
    "tsv": 'label\ttext\nx\ta, "b" c\ny\tä 中\n',
    "json": '[{"text": "a, \\"b\\"\\tc", "label": "x"},\n{"label": "y", "text": "ä 中"}]\n',
    "ndjson": '{"text": "a, \\"b\\"\\tc", "label": "x"}\n{"label": "y", "text": "ä 中"}\n',
    "fasttext": '__label__x a, "b"\tc\n__label__y ä 中\n',
    "ft": '__label__x a, "b"\tc\n__label__y ä 中\n',
}
EXPECTED = {
    "jsonl": [row(1, 'a, "b"\tc', "x"), row(2, "ä 中", "y")],
    "csv": [row(2, 'a, "b"\tc', "x"), row(3, "ä 中", "y")],
    "tsv": [row(2, 'a, "b" c', "x"), row(3, "ä 中", "y")],
    "json": [row(1, 'a, "b"\tc', "x"), row(2, "ä 中", "y")],
    "ndjson": [row(1, 'a, "b"\tc', "x"), row(2, "ä 中", "y")],
    "fasttext": [row(1, 'a, "b"\tc', "x"), row(2, "ä 中", "y")],
    "ft": [row(1, 'a, "b"\tc', "x"), row(2, "ä 中", "y")],
}


def test_every_format_with_labels_is_covered() -> None:
    """The tests below cover all suffixes of text with labels; `txt` has no labels."""
    assert {suffix for suffix, format in BY_SUFFIX.items() if not format.binary} == {*CONTENT, "txt"}


@pytest.mark.parametrize("kind", CONTENT)
def test_rows_are_read_in_order(tmp_path: Path, kind: str) -> None:
    """Rows have their line numbers; columns may be in any order, and the header of a table is line 1."""
    assert read(tmp_path / f"rows.{kind}", CONTENT[kind]) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_a_compressed_file_has_the_same_rows(tmp_path: Path, kind: str) -> None:
    """A file that is compressed as `.gz` has the same rows."""
    assert read(tmp_path / f"rows.{kind}.gz", gzip.compress(CONTENT[kind].encode())) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_a_byte_order_mark_is_ignored(tmp_path: Path, kind: str) -> None:
    """It is neither part of the first JSON object nor of the name of the first column."""
    assert read(tmp_path / f"rows.{kind}", b"\xef\xbb\xbf" + CONTENT[kind].encode()) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_line_ends_of_windows(tmp_path: Path, kind: str) -> None:
    r"""`\r\n` ends a line like `\n`, and `\r` is not part of a value."""
    assert read(tmp_path / f"rows.{kind}", CONTENT[kind].replace("\n", "\r\n")) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, kind: str) -> None:
    """Other line separators of Unicode are part of a text, so that line numbers are correct."""
    text = "a\u2028b\x85c"
    content = CONTENT[kind].replace("ä 中", text)

    assert read(tmp_path / f"rows.{kind}", content) == [
        EXPECTED[kind][0],
        row(EXPECTED[kind][1].line, text, "y"),
    ]


@pytest.mark.parametrize("kind", CONTENT)
def test_the_last_line_needs_no_line_feed(tmp_path: Path, kind: str) -> None:
    """The last row is read without a line feed at its end."""
    assert read(tmp_path / f"rows.{kind}", CONTENT[kind].rstrip("\n")) == EXPECTED[kind]


@pytest.mark.parametrize("kind", CONTENT)
def test_an_empty_file_has_no_rows(tmp_path: Path, kind: str) -> None:
    """An empty file does not need a header."""
    assert read(tmp_path / f"rows.{kind}", "") == []


@pytest.mark.parametrize("kind", CONTENT)
def test_a_truncated_gz_is_refused(tmp_path: Path, kind: str) -> None:
    """A truncated file is an error, although its first rows can be read."""
    packed = gzip.compress(CONTENT[kind].encode())

    with pytest.raises(
        UserError, match=rf"rows\.{kind}\.gz: cannot be read: it is incomplete or damaged .*end-of-stream"
    ):
        read(tmp_path / f"rows.{kind}.gz", packed[:-10])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.jsonl", '{"text": "a", "label": "x"}\n{"text": "café"}\n', "byte 0xe9 at character 14"),
        ("rows.csv", 'text,label\n"café\n",x\n', "'text' is not UTF-8: byte 0xe9 at character 4"),
        ("rows.tsv", "text\tlabel\na\té\n", "'label' is not UTF-8: byte 0xe9 at character 1"),
        ("rows.txt", "text\tlabel\ncafé\n", "not UTF-8: byte 0xe9 at character 4"),
    ],
)
def test_a_damaged_row_of_utf8(tmp_path: Path, name: str, content: str, reason: str) -> None:
    """Where most is UTF-8, only the row with other bytes is malformed, with its line and the byte."""
    fields = (TEXT,) if name == "rows.txt" else (TEXT, LABEL)
    good = {
        "rows.jsonl": '{"text": "b äöü", "label": "y"}',
        "rows.csv": "b äöü,y",
        "rows.tsv": "b äöü\ty",
        "rows.txt": "b äöü",
    }
    damaged = content.encode("latin-1") + f"{good[name]}\n".encode()
    rows = read(tmp_path / name, damaged, *fields)

    bad = next(r for r in rows if isinstance(r, BadRow))
    assert bad.line == 2
    assert bad.reason.endswith(reason)
    assert isinstance(rows[-1], Row)
    assert (rows[-1].line, rows[-1].values["text"]) == (content.count("\n") + 1, "b äöü")


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", '{"id": 7, "stars": 1, "body": "a"}'), ("rows.csv", "id,stars,body\n7,1,a\n")],
)
def test_names_of_columns(tmp_path: Path, name: str, content: str) -> None:
    """Values are known by the names of their fields; other columns are ignored."""
    fields = (Field("text", "text", "body", "--a"), Field("label", "label", "stars", "--b"))

    assert [r.values for r in read(tmp_path / name, content, *fields) if isinstance(r, Row)] == [
        {"text": "a", "label": "1"}
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"text": " ", "label": "x"}'),
        ("rows.csv", 'text,label\n" ",x'),
        ("rows.tsv", "text\tlabel\n \tx"),
    ],
)
def test_texts_are_not_stripped(tmp_path: Path, name: str, content: str) -> None:
    """White space of a text is kept, also if there is nothing else."""
    assert [r.values for r in read(tmp_path / name, content) if isinstance(r, Row)] == [
        {"text": " ", "label": "x"}
    ]


@pytest.mark.parametrize(
    ("kind", "blank"),
    [
        *(("jsonl", ""), ("jsonl", " \t"), ("jsonl", "\r"), ("ndjson", "\u3000"), ("json", "")),
        *(("csv", ""), ("csv", "\r"), ("csv", "  "), ("csv", " , "), ("tsv", ""), ("tsv", "\t"), ("ft", " ")),
    ],
)
def test_blank_lines(tmp_path: Path, kind: str, blank: str) -> None:
    """They are counted as lines, and are no rows."""
    lines = CONTENT[kind].splitlines()
    rows = read(tmp_path / f"rows.{kind}", "\n".join([*lines[:-1], blank, lines[-1], blank, ""]))

    last = EXPECTED[kind][-1]
    assert rows == [EXPECTED[kind][0], Row(last.line + 1, last.values)]


def read_packed(stream: BinaryIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield the rows of a binary format: each text follows its length."""
    number = 0
    while head := stream.read(4):
        number += 1
        text, _, label = stream.read(struct.unpack("<I", head)[0]).decode().partition("\0")
        yield Row(number, {"text": text, "label": label})


def test_a_format_is_added_by_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of its shape prepares its files, also binary ones."""
    monkeypatch.setitem(FORMATS, "packed", Format("packed", read_packed, ("packed",), "records", binary=True))
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(50)]
    content = [f"{text}\0{label}".encode() for text, label in rows]
    path = tmp_path / "train.packed"
    path.write_bytes(b"".join(struct.pack("<I", len(part)) + part for part in content))
    task = get_task("classification")
    fields = task.examples.fields(load_config("classification"))

    source = open_source(str(tmp_path), fields, task.examples.shapes)
    assert isinstance(source, Source)
    dataset = prepare(source, fields, directory=tmp_path / "prepared")

    assert {
        text.decode() for split in dataset.sizes for batch in dataset.batches(split) for text in batch["text"]
    } == {text for text, _ in rows}


def test_names_and_suffixes_are_unique() -> None:
    """A suffix belongs to one format of a shape, and the key of a format is its name."""
    suffixes = [(f.shape, suffix) for f in FORMATS.values() for suffix in f.suffixes]

    assert len(set(suffixes)) == len(suffixes)
    assert {name: format.name for name, format in FORMATS.items()} == {name: name for name in FORMATS}


@pytest.mark.parametrize(
    ("name", "fields", "missing"),
    [
        ("txt", (TEXT, FLAG, GENRE), GENRE),
        ("txt", (TEXT, FLAG), None),
        ("lines", (TEXT, GENRE), GENRE),
        ("conll", (TOKENS, TAGS, GENRE), GENRE),
        ("conll", (TOKENS, TAGS, TEXT), TEXT),
        ("conllu", (TOKENS, TAGS, TEXT), None),
        ("conllu", (TOKENS, TAGS, GENRE), GENRE),
        ("conllu", (TOKENS, TAGS, Field("other", "tags", "xpos", "")), Field("other", "tags", "xpos", "")),
        ("table", (TOKENS, TAGS), TOKENS),
        ("table", (TEXT, GENRE, TAGS), TAGS),
        ("table", (TEXT, Field("target", "text", "b", ""), GENRE), None),
        ("json", (TEXT, GENRE, TOKENS, TAGS, FLAG), None),
        ("fasttext", (TEXT, GENRE), None),
        ("fasttext", (TEXT, Field("target", "text", "b", "")), Field("target", "text", "b", "")),
        ("fasttext", (TEXT, ONE_HOT), ONE_HOT),
    ],
)
def test_the_missing_field_of_a_format(name: str, fields: tuple[Field, ...], missing: Field | None) -> None:
    """It is the first required field that files of the format never have."""
    assert FORMATS[name].missing(fields) == missing


def test_a_label_that_a_text_file_cannot_have_is_refused(tmp_path: Path) -> None:
    """The error is raised before rows are read, for a single file and for a folder."""
    task = get_task("generation")
    fields = task.examples.fields(load_config("generation", overrides=["data.label_column=genre"]))
    path = tmp_path / "train.txt"
    path.write_text("To be, or not to be\n")

    for data in (path, tmp_path):
        with pytest.raises(UserError) as caught:
            open_source(str(data), fields, task.examples.shapes)
        assert str(caught.value) == (
            f"{path}: format txt has no column 'genre' (label); use .jsonl, .json, .ndjson, .csv, .tsv, "
            ".parquet, .arrow, .feather, .fasttext, .ft"
        )
