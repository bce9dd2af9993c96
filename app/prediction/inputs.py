"""What `predict` reads: a file of any format of its task, a folder of texts or of files, or stdin."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.errors import UserError
from data.formats import (
    FORMATS,
    BadRow,
    Field,
    File,
    Format,
    Options,
    Row,
    Shape,
    formats_of,
    read_text,
    sniff,
    sniff_stream,
    suffix_of,
)

TXT = "txt"
TEXTS = (TXT, "text")
"""Suffixes of files with one text each, in a folder."""
LINES = FORMATS["lines"]
"""A text per line: the format of `--format txt`, and of a `.txt` file that is no table or the like."""
LISTED = 5
"""Number of ignored files that a message names."""

Rows = Callable[[], Iterator[Row | BadRow]]
FileRow = tuple[str, Row | BadRow]
"""A row, and the path of its file within the folder; empty if the input is not a folder."""


@dataclass(frozen=True)
class Input:
    """What is predicted."""

    rows: Iterator[FileRow]
    is_folder: bool = False
    notes: tuple[str, ...] = ()
    """Sentences about what is read otherwise than one may expect, or not at all."""


@dataclass(frozen=True)
class Reading:
    """How a model reads files."""

    task: str
    fields: tuple[Field, ...]
    """What an example needs to be predicted."""
    trained: tuple[Field, ...]
    """What an example of the training has."""
    shapes: tuple[Shape, ...]
    """Those that the task trains on."""
    source: str = ""
    """Suffix of the side of line-aligned files that is the input."""
    options: Options = field(default_factory=Options)
    format: Format | None = None
    """Of all files, whatever their names and contents are."""

    @property
    def expected(self) -> str:
        """The suffixes of the files that can be read, for messages."""
        suffixes = [*formats_of(self.records(), self.fields), TXT, *([self.source] if self.source else [])]
        return ", ".join(f".{suffix}" for suffix in dict.fromkeys(suffixes))

    def records(self) -> tuple[Shape, ...]:
        """Return the shapes of which a file has several examples."""
        return tuple(shape for shape in self.shapes if shape != "document")


def named_format(name: str, shapes: Sequence[Shape]) -> Format:
    """Return the format that `--format` names; one that the task reads is preferred."""
    return formats_of((*shapes, "records", "sentences", "lines"))[name] if name != TXT else LINES


def open_input(path: Path | None, reading: Reading) -> Input:
    """Return the rows of a file, of all files of a folder, or of stdin.

    Args:
        path: None: stdin, whose lines are texts if no format is given.
        reading: how the model reads.

    Raises:
        UserError: there is no such file, or it is not of a kind that the model reads.
    """
    if path is None:
        return _stdin(reading)
    if path.is_dir():
        return _folder(path, reading)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    file = _open(path, reading)
    if file is None:
        suffix = f".{suffix_of(path)} format" if suffix_of(path) else "the name has no suffix"
        raise UserError(
            f"{path}: {suffix}; a {reading.task} model reads {reading.expected}; if each line is a text, "
            "give --format txt"
        )
    notes: tuple[str, ...] = ()
    if suffix_of(path) == TXT and reading.format is None and file.layout.format != LINES.name:
        notes += (f"{path}: read as {file.layout.describe()}; give --format txt if each line is a text",)
    if file.layout.header and any(field.column.isdecimal() for field in reading.fields):
        notes += (
            f"{path}: the first row is read as a header; if it is an example, give --set data.header=false",
        )
    return Input((("", row) for row in _examples(file.rows())), notes=notes)


def _stdin(reading: Reading) -> Input:
    format = reading.format or LINES
    fields = _required(format, reading.fields)
    shapes = (*reading.records(), LINES.shape)
    file = sniff_stream(sys.stdin.buffer, "stdin", fields, shapes, reading.options, format=format)
    assert file is not None
    rows = _examples(file.rows())
    notes: tuple[str, ...] = ()
    if reading.format is None and (first := next(rows, None)) is not None:
        rows = itertools.chain([first], rows)
        if isinstance(first, Row) and _is_json_object(first.text()):
            notes = ("stdin: JSON objects are read as texts; give --format jsonl to read their columns",)
    return Input((("", row) for row in rows), notes=notes)


def _is_json_object(text: str) -> bool:
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _open(path: Path, reading: Reading) -> File | None:
    """Return a file with its layout; None: it is of no kind that the model reads."""
    shapes, options, format = (*reading.records(), LINES.shape), reading.options, reading.format
    if format is None and reading.source and suffix_of(path) == reading.source.lower():
        format = LINES
    if format is None and "document" not in reading.shapes:
        format = _recognized(path, reading)
    if format is None and suffix_of(path) == TXT:
        format = LINES
    if format is not None:
        return sniff(path, _required(format, reading.fields), shapes, options, format=format)
    return sniff(path, reading.fields, shapes, options)


def _recognized(path: Path, reading: Reading) -> Format | None:
    """Return the format of a file by its suffix or content, as in training: a .txt file may be a table."""
    file = sniff(path, reading.fields, reading.records(), reading.options)
    if file is None:  # perhaps the labels or tags show what it is
        with contextlib.suppress(UserError):
            file = sniff(path, reading.trained, reading.records(), reading.options)
    return FORMATS[file.layout.format] if file is not None else None


def _required(format: Format, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Require the text of a table whose cells hold no tokens: a missing column is an error at once."""
    if format.shape == "sentences" or "tokens" in format.kinds:
        return fields
    return tuple(replace(field, optional=False) for field in fields if field.kind == "text")


def _examples(rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    """Yield all rows except those that are no example, such as a repeated header."""
    return (row for row in rows if not (isinstance(row, BadRow) and row.harmless))


def _folder(folder: Path, reading: Reading) -> Input:
    """Return the rows of a folder: of its text files if there are any, else of all files.

    A `.txt` file is one text. Text files next to folders with text files, as in the Large Movie Review
    Dataset, are about the data, and are not read. Files without suffixes in folders are texts if nothing else
    is, as in the 20 Newsgroups.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder))
    texts = [path for path in paths if suffix_of(path) in TEXTS] if reading.format is None else []
    opened = _texts(texts, reading) if texts else _files(paths, reading)
    if not opened and reading.format is None:
        opened = _texts([path for path in paths if not path.suffix and path.parent != folder], reading)
    if not opened:
        raise UserError(
            f"{folder}: no file that a {reading.task} model reads; expected {reading.expected}, or folders "
            "of .txt files with one text each"
        )
    ignored = [path for path in paths if path not in opened]
    return Input(_of_files(opened, folder), is_folder=True, notes=_ignored(ignored, folder))


def _texts(paths: Sequence[Path], reading: Reading) -> dict[Path, Rows]:
    """Return the files with one text each that are not next to folders with such files."""
    outer = {parent for path in paths for parent in path.parent.parents}
    inner = (path for path in paths if path.parent not in outer)
    return {path: functools.partial(_document, path, reading) for path in inner}


def _files(paths: Sequence[Path], reading: Reading) -> dict[Path, Rows]:
    """Return the files that the model reads."""
    files = {path: _open_in_folder(path, reading) for path in paths}
    return {path: file.rows for path, file in files.items() if file is not None}


def _open_in_folder(path: Path, reading: Reading) -> File | None:
    """Return a file of a folder; None: it is no data, by its name and its content."""
    try:
        return _open(path, reading)
    except UserError:
        if reading.format is not None or f".{suffix_of(path)}" in reading.expected.split(", "):
            raise
        return None


def _document(path: Path, reading: Reading) -> Iterator[Row | BadRow]:
    """Yield the text of a file; its last line break is not part of it."""
    text = read_text(path, reading.options)
    name = next(field.name for field in reading.fields if field.kind == "text")
    yield text if isinstance(text, BadRow) else Row(1, {name: text.removesuffix("\n").removesuffix("\r")})


def _of_files(opened: Mapping[Path, Rows], folder: Path) -> Iterator[FileRow]:
    for path, rows in opened.items():
        for row in _examples(rows()):
            yield path.relative_to(folder).as_posix(), row


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _ignored(paths: Sequence[Path], folder: Path) -> tuple[str, ...]:
    if not paths:
        return ()
    names = [path.relative_to(folder).as_posix() for path in paths[:LISTED]]
    names += [f"and {len(paths) - LISTED:,} more"] if len(paths) > LISTED else []
    return (f"{folder}: not read: {', '.join(names)}; give a file as INPUT to read it alone",)
