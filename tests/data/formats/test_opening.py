"""Opening and decompressing files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import FORMATS, BadRow, Field, Row, read_rows, suffix_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
CONTENT = "text,label\na,x\n"


def read(path: Path, content: bytes) -> list[Row | BadRow]:
    """Write a table, and return its rows."""
    path.write_bytes(content)
    return list(read_rows(path, FIELDS, FORMATS["table"]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.jsonl", "jsonl"),
        ("train.jsonl.gz", "jsonl"),
        ("Train.CSV.GZ", "csv"),
        ("a.b.tsv", "tsv"),
        ("train", ""),
        ("train.gz", ""),
    ],
)
def test_the_suffix_names_the_format(name: str, expected: str) -> None:
    """The last suffix names the format, in upper or lower case; `.gz` is skipped."""
    assert suffix_of(Path(name)) == expected


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that cannot be opened is a user error with its path."""
    with pytest.raises(UserError, match=r"rows\.csv: cannot be read: No such file"):
        list(read_rows(tmp_path / "rows.csv", FIELDS, FORMATS["table"]))


def test_a_damaged_gz_is_refused(tmp_path: Path) -> None:
    """Bytes that cannot be decompressed are a user error."""
    packed = bytearray(gzip.compress(CONTENT.encode()))
    packed[10] = 0xFF  # an invalid type of the first block, after the header of 10 bytes

    with pytest.raises(UserError, match=r"rows\.csv\.gz: cannot be read: "):
        read(tmp_path / "rows.csv.gz", bytes(packed))


def test_a_plain_file_named_gz_is_read(tmp_path: Path) -> None:
    """The content decides whether a file is compressed."""
    assert read(tmp_path / "rows.csv.gz", CONTENT.encode()) == [Row(2, {"text": "a", "label": "x"})]


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    """The first row of a compressed file is available before its damaged end is read."""
    lines = "".join(f'{{"text": "{i * 7919 % 100_003}", "label": "x"}}\n' for i in range(100_000))
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode(), 1)[:-100])
    rows = read_rows(path, FIELDS, FORMATS["json"])

    assert next(rows) == Row(1, {"text": "0", "label": "x"})
    with pytest.raises(UserError):
        list(rows)
