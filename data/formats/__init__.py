"""Rows of a user's own files: what each format holds, and where a row is broken.

A reader never stops at a broken row: it gives a `BadRow` in its place, so that preparing can refuse the
first, the data check can list them all, and prediction can answer the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from data.errors import UserError, did_you_mean

FieldKind = Literal["text", "label", "tokens", "tags", "flag"]
"""A text; one of a few names; a text that is cut already; a name for each of these tokens; yes or no."""
Value = str | tuple[str, ...] | bool


@dataclass(frozen=True)
class Field:
    """A value that a task needs of each row."""

    name: str
    kind: FieldKind
    column: str
    option: str
    """What a user types to name another column, e.g. `--set data.label_column=NAME`."""
    other_columns: tuple[str, ...] = ()
    """Where else the value may stand, if not in `column`."""
    optional: bool = False
    """Whether a row may do without it."""

    def find(self, present: Sequence[str] | Mapping[str, Any]) -> str | None:
        """The column that holds the value, of those present."""
        return next((column for column in (self.column, *self.other_columns) if column in present), None)


@dataclass(frozen=True)
class Row:
    """A row as a task reads it: field name to value; `line` counts from 1."""

    line: int
    values: dict[str, Value]

    def text(self, name: str = "text") -> str:
        """The value of a field that is one text."""
        value = self.values[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} is no text: {value!r}")
        return value

    def tokens(self, name: str = "tokens") -> tuple[str, ...]:
        """The value of a field that is a sequence."""
        value = self.values[name]
        if not isinstance(value, tuple):
            raise TypeError(f"{name} is no sequence: {value!r}")
        return value


@dataclass(frozen=True)
class BadRow:
    """A row that can't be read, and why."""

    line: int
    reason: str


EMPTY_LINE = "the line is empty"
CONTINUES = "continues"
"""The flag of a piece of text that goes on where the row before it ended."""
PIECE_CHARACTERS = 1 << 16
"""A text that is one document is kept in pieces of about this size."""

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


def _string(name: str, value: object, *, from_json: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_KINDS.get(type(value), 'no text')}, not a text")
    if problem := _encodable(value, from_json=from_json):
        raise ValueError(f"{name} is {problem}")
    return value


def _name(name: str, value: object, *, from_json: bool) -> str:
    """A label or a tag: a text of one line, or a number."""
    if isinstance(value, bool | int):
        return json.dumps(value)
    value = _string(name, value, from_json=from_json).strip()
    if not value:
        raise ValueError(f"{name} is empty")
    if len(value.splitlines()) > 1:
        raise ValueError(f"{name} has a line break")
    return value


def _value(field: Field, column: str, value: object, *, from_json: bool) -> Value:
    """A field's value, checked; raises ValueError with the reason."""
    if field.kind == "text":
        return _string(repr(column), value, from_json=from_json)
    if field.kind == "label":
        return _name(repr(column), value, from_json=from_json)
    if field.kind == "flag":
        return bool(value)
    if not isinstance(value, list):
        raise ValueError(f"{column!r} is {_KINDS.get(type(value), 'no list')}, not a list")
    check = _name if field.kind == "tags" else _string
    items = tuple(check(f"{column}[{i}]", item, from_json=from_json) for i, item in enumerate(value))
    if "" in items:
        raise ValueError(f"{column}[{items.index('')}] is empty")
    return items


def _missing(field: Field, present: Sequence[str]) -> str:
    has = ", ".join(repr(name) for name in present)
    hint = did_you_mean(field.column, present)
    return f"no column {field.column!r}; there is {has or 'none'}; name it with {field.option}{hint}"


def _row(
    line: int, values: Mapping[str, Any], fields: Sequence[Field], *, from_json: bool = False
) -> Row | BadRow:
    found: dict[str, Value] = {}
    try:
        for field in fields:
            column = field.find(values)
            if field.optional and (column is None or values[column] is None):
                continue
            if column is None:
                raise ValueError(_missing(field, list(values)))
            found[field.name] = _value(field, column, values[column], from_json=from_json)
        _check_aligned(found, fields)
    except ValueError as error:
        return BadRow(line, str(error))
    return Row(line, found)


def _check_aligned(values: Mapping[str, Value], fields: Sequence[Field]) -> None:
    lengths = {
        field.name: len(value) for field in fields if isinstance(value := values.get(field.name), tuple)
    }
    if len(set(lengths.values())) > 1:
        raise ValueError("misaligned: " + ", ".join(f"{n} {name}" for name, n in lengths.items()))


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
        column = field.find(header)
        if column is None and not field.optional:
            raise UserError(_missing(field, header))
        if column is not None and header.count(column) > 1:
            raise UserError(f"two columns {column!r}; rename one")
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


def read_document(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """One text as it stands, in pieces of whole lines, each but the first marked as going on.

    Very long lines are cut too, behind a space where there is one.
    """
    text, flag = (next(f.name for f in fields if f.kind == kind) for kind in ("text", "flag"))
    piece: list[str] = []
    size, start, number = 0, 1, 0
    line_ended, goes_on = True, False

    def row() -> Row:
        return Row(start, {text: "".join(piece), flag: goes_on})

    while line := lines.readline(PIECE_CHARACTERS):
        number += line_ended
        line_ended = line.endswith("\n")
        if problem := _encodable(line):
            yield BadRow(number, problem)
            continue
        if not piece:
            start = number
        end = len(line)
        if end == PIECE_CHARACTERS and not line_ended:
            end = line.rfind(" ") + 1 or end
        piece.append(line[:end])
        size += end
        if size >= PIECE_CHARACTERS or end < len(line):
            yield row()
            piece, size, start, goes_on = [line[end:]] * (end < len(line)), len(line) - end, number, True
    if piece:
        yield row()


CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_RAW_TEXT = "# text = "
_DOCUMENT_START = "-DOCSTART-"


def _sentences(lines: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Runs of lines between blank ones, each with the number of its first line."""
    block: list[str] = []
    number = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            block.append(line.rstrip("\r\n"))
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield number - len(block) + 1, block


def read_conllu(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Sentences of the CoNLL-U format of Universal Dependencies, one column of it as tags.

    Ranges such as `1-2` (a word of several tokens as written) and empty nodes such as `1.1` are no
    tokens; the raw text is that of the `# text =` line.
    """
    tags = next((field for field in fields if field.kind == "tags"), None)
    column = tags.find(CONLLU_COLUMNS) if tags else None
    if tags is not None and column is None:
        raise UserError(_missing(tags, CONLLU_COLUMNS))
    place = CONLLU_COLUMNS.index(column) if column else 0
    for start, block in _sentences(lines):
        yield _conllu_row(start, block, fields, place)


def _conllu_row(start: int, block: list[str], fields: Sequence[Field], place: int) -> Row | BadRow:
    names = {field.kind: field.column for field in fields}
    values: dict[str, Any] = {"tokens": [], names.get("tags", "tags"): []}
    for number, line in enumerate(block, start):
        if line.startswith("#"):
            if line.startswith(_RAW_TEXT):
                values[names.get("text", "text")] = line.removeprefix(_RAW_TEXT)
            continue
        cells = line.split("\t")
        if len(cells) != len(CONLLU_COLUMNS):
            return BadRow(number, f"columns: {len(cells)}; in CoNLL-U: {len(CONLLU_COLUMNS)}, tabs between")
        if cells[0].isdecimal():
            values["tokens"].append(cells[1])
            values[names.get("tags", "tags")].append(cells[place])
        elif not re.fullmatch(r"\d+[-.]\d+", cells[0]):
            return BadRow(number, f"the id is {cells[0]!r}; expected a number such as 1, 1-2 or 1.1")
        if problem := _encodable(line):
            return BadRow(number, problem)
    if not values["tokens"]:
        return BadRow(start, EMPTY_LINE)
    return _row(start, values, fields)


def _columns(line: str) -> list[str]:
    """Cut at spaces and tabs alone: other white space, such as U+00A0 of `10 000`, is part of a token."""
    return re.split("[ \t]+", line.strip(" \t"))


def read_conll(lines: TextIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """A token a line, spaces or tabs between the columns: the token first, its tag last."""
    tags = next((field.column for field in fields if field.kind == "tags"), "tags")
    for start, block in _sentences(lines):
        tokens: list[str] = []
        names: list[str] = []
        bad: BadRow | None = None
        width = len(_columns(block[-1]))
        for number, line in enumerate(block, start):
            cells = _columns(line)
            # A comment, not the sign "#" and its tag: it stands first and has columns of its own.
            comment = line.startswith("# ") and not tokens and len(cells) != width
            if comment or cells[0] == _DOCUMENT_START:
                continue
            if problem := _encodable(line):
                bad = bad or BadRow(number, problem)
            elif len(cells) < 2:
                bad = bad or BadRow(number, f"columns: {len(cells)}; expected a token and its tag")
            else:
                tokens.append(cells[0])
                names.append(cells[-1])
        if bad:
            yield bad
        elif tokens:
            yield _row(start, {"tokens": tokens, tags: names}, fields)


Reader = Callable[[TextIO, Sequence[Field]], Iterator[Row | BadRow]]
READERS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "txt": read_txt,
}
"""How texts to answer are read, by format; a task may read more formats to learn from."""


def read_rows(path: Path, fields: Sequence[Field], reader: Reader) -> Iterator[Row | BadRow]:
    """The rows of a file, in order.

    Raises:
        UserError: the file can't be opened, or its header lacks a column.
    """
    try:
        with open_text(path) as lines:
            yield from reader(lines, fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_pairs(paths: Sequence[Path], fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Rows of files that belong together line by line, one file for each field.

    Raises:
        UserError: a file can't be opened, or one is longer than another.
    """
    sides = [read_rows(path, (_LINE,), read_txt) for path in paths]
    number = 0
    for number, lines in enumerate(itertools.zip_longest(*sides), 1):
        if None in lines:
            shorter = paths[lines.index(None)]
            lengths = " and ".join(f"{path} has {_count_lines(path):,}" for path in paths)
            raise UserError(f"{shorter}: no line {number:,} to go with the other file's: {lengths} lines")
        bad = [
            BadRow(number, f"{path.name} is {line.reason}")
            for path, line in zip(paths, lines, strict=True)
            if isinstance(line, BadRow)
        ]
        texts = [line.text() for line in lines if isinstance(line, Row)]
        yield bad[0] if bad else Row(number, {f.name: text for f, text in zip(fields, texts, strict=True)})


_LINE = Field("text", "text", "text", "")


def _count_lines(path: Path) -> int:
    with open_text(path) as lines:
        return sum(1 for _ in lines)
