"""Rows of a user's own files: what each format holds, and where a row is broken.

A reader never stops at a broken row: it gives a `BadRow` in its place, so that preparing can refuse the
first, the data check can list them all, and prediction can answer the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from data.errors import UserError, did_you_mean

FieldKind = Literal["text", "label"]


@dataclass(frozen=True)
class Field:
    """A value that a task needs of each row."""

    name: str
    kind: FieldKind
    column: str
    option: str
    """What a user types to name another column, e.g. `--set data.label_column=NAME`."""


@dataclass(frozen=True)
class Row:
    """A row as a task reads it: field name to value; `line` counts from 1."""

    line: int
    values: dict[str, str]


@dataclass(frozen=True)
class BadRow:
    """A row that can't be read, and why."""

    line: int
    reason: str


EMPTY_LINE = "the line is empty"

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def format_of(path: Path) -> str:
    """The format by a file's name: `train.jsonl.gz -> jsonl`."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1][1:] if suffixes else ""


def open_text(path: Path) -> TextIO:
    """Opens a file or `.gz` as text, bytes that are not UTF-8 kept as surrogates to be found by row."""
    zipped = path.suffix.lower() == ".gz"
    raw = gzip.open(path, "rb") if zipped else path.open("rb")  # noqa: SIM115 (closed with the wrapper)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def _encodable(value: str, *, from_json: bool = False) -> str | None:
    r"""Why a string can't be UTF-8, or None; a surrogate is a byte of the file, or a `\uXXXX` of JSON."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        if 0xDC80 <= code <= 0xDCFF and not from_json:
            return f"not UTF-8: byte 0x{code - 0xDC00:02x} at character {error.start + 1}"
        return f"not valid Unicode: a lone surrogate \\u{code:04x} at character {error.start + 1}"
    return None


def _value(field: Field, value: object, *, from_json: bool) -> str:
    """A field's value, checked; raises ValueError with the reason."""
    if field.kind == "label" and isinstance(value, bool | int):
        return json.dumps(value)
    if not isinstance(value, str):
        raise ValueError(f"{field.column!r} is {_KINDS.get(type(value), 'no text')}, not a text")
    if problem := _encodable(value, from_json=from_json):
        raise ValueError(f"{field.column!r} is {problem}")
    if field.kind == "label":
        value = value.strip()
        if not value:
            raise ValueError(f"{field.column!r} is empty")
        if len(value.splitlines()) > 1:
            raise ValueError(f"{field.column!r} has a line break")
    return value


def _missing(field: Field, present: Sequence[str]) -> str:
    has = ", ".join(repr(name) for name in present)
    hint = did_you_mean(field.column, present)
    return f"no column {field.column!r}; there is {has or 'none'}; name it with {field.option}{hint}"


def _row(
    line: int, values: dict[str, Any], fields: Sequence[Field], *, from_json: bool = False
) -> Row | BadRow:
    try:
        for field in fields:
            if field.column not in values:
                raise ValueError(_missing(field, list(values)))
        return Row(line, {f.name: _value(f, values[f.column], from_json=from_json) for f in fields})
    except ValueError as error:
        return BadRow(line, str(error))


def read_jsonl(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """One JSON object a line."""
    for number, line in enumerate(lines, 1):
        if problem := _encodable(line):
            yield BadRow(number, problem)
            continue
        if not line.strip():
            yield BadRow(number, EMPTY_LINE)
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"not JSON: {error}")
            continue
        if isinstance(values, dict):
            yield _row(number, values, fields, from_json=True)
        else:
            yield BadRow(number, f'{_KINDS[type(values)]}, not an object such as {{"text": …}}')


def _read_table(rows: Any, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    try:
        header = next(rows, None)
    except csv.Error as error:
        raise UserError(f"the header is not CSV: {error}") from None
    if header is None:
        return
    for field in fields:
        if field.column not in header:
            raise UserError(_missing(field, header))
        if header.count(field.column) > 1:
            raise UserError(f"two columns {field.column!r}; rename one")
    line = rows.line_num + 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(line, f"not CSV: {error}")
        else:
            if not cells:
                yield BadRow(line, EMPTY_LINE)
            elif len(cells) != len(header):
                yield BadRow(line, f"columns: {len(cells)}; in the header: {len(header)}")
            else:
                yield _row(line, dict(zip(header, cells, strict=True)), fields)
        line = rows.line_num + 1


def read_csv(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Comma-separated, a header first; quoted fields may hold commas and line breaks."""
    csv.field_size_limit(sys.maxsize)
    return _read_table(csv.reader(lines, strict=True), fields)


def read_tsv(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Tab-separated, a header first; a quotation mark is a sign like any other."""
    csv.field_size_limit(sys.maxsize)
    return _read_table(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), fields)


def read_txt(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """One text a line; an empty line is an empty text."""
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        problem = _encodable(text)
        yield BadRow(number, problem) if problem else Row(number, {fields[0].name: text})


READERS: dict[str, Callable[[TextIO, Sequence[Field]], Iterator[Row | BadRow]]] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "txt": read_txt,
}


def read_rows(path: Path, fields: Sequence[Field], format_name: str | None = None) -> Iterator[Row | BadRow]:
    """The rows of a file, in order; their format is that of the file's name unless given.

    Raises:
        UserError: the file can't be opened, or its header lacks a column.
    """
    try:
        with open_text(path) as lines:
            yield from READERS[format_name or format_of(path)](lines, fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
