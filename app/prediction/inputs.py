"""What `predict` reads: a file of any format of its task, a folder of texts or of files, or stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import UserError
from data.formats import (
    FORMATS,
    BadRow,
    Field,
    File,
    Options,
    Row,
    Shape,
    formats_of,
    open_text,
    sniff,
    sniff_stream,
    suffix_of,
)

LINES = "lines"
"""The format of a text per line."""
FORMAT_NAMES = {"txt": LINES}
"""Names of `--format` that are not those of `data.formats.FORMATS`."""
LISTED = 5
"""Number of ignored files that a message names."""

FileRow = tuple[str, Row | BadRow]
"""A row, and the path of its file within the folder; empty if the input is not a folder."""


@dataclass(frozen=True)
class Input:
    """What is predicted."""

    rows: Iterator[FileRow]
    is_folder: bool = False
    ignored: str = ""
    """A sentence about the files that are not read; empty if there are none."""


@dataclass(frozen=True)
class Reading:
    """How a model reads files."""

    task: str
    fields: tuple[Field, ...]
    shapes: tuple[Shape, ...]
    """Those that the task trains on, and texts in lines in place of a document."""
    source: str = ""
    """Suffix of the side of line-aligned files that is the input."""
    options: Options = Options()
    format: str | None = None
    """A key of `FORMATS` that files have, whatever their names are."""

    @property
    def suffixes(self) -> list[str]:
        """Suffixes of the files that can be read."""
        return [*formats_of(self.shapes), *([self.source] if self.source else [])]


def open_input(path: Path | None, reading: Reading) -> Input:
    """Return the rows of a file, of all files of a folder, or of stdin.

    Args:
        path: None: stdin, whose lines are texts if no format is given.
        reading: how the model reads.

    Raises:
        UserError: there is no such file, or it is not of a kind that the model reads.
    """
    if path is None:
        stream = sys.stdin.buffer
        name = reading.format or LINES
        fields = _fields(name, reading.fields)
        file = sniff_stream(stream, "stdin", fields, reading.shapes, reading.options, format=name)
        return Input(("", row) for row in _examples(file.rows))
    if path.is_dir():
        return _folder(path, reading)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    found = _open(path, reading)
    if found is None:
        raise UserError(_refusal(path, reading))
    return Input(("", row) for row in _examples(found.rows))


def _open(path: Path, reading: Reading) -> File | None:
    """Return a file with its layout; None: it is of no kind that the model reads."""
    if reading.format is None and reading.source and suffix_of(path) == reading.source.lower():
        reading = replace(reading, format=LINES)
    file = sniff(path, reading.fields, reading.shapes, reading.options, format=reading.format)
    if file is None:
        return None
    fields = _fields(file.layout.format, reading.fields)
    if fields == reading.fields:
        return file
    return sniff(path, fields, reading.shapes, reading.options, format=reading.format)


def _fields(format: str, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Require the text of a table whose cells hold no tokens: a missing column is an error at once."""
    found = FORMATS[format]
    if found.shape != "records" or "tokens" in found.kinds:
        return fields
    return tuple(replace(field, optional=False) for field in fields if field.kind == "text")


def _examples(rows: Callable[[], Iterator[Row | BadRow]]) -> Iterator[Row | BadRow]:
    """Yield all rows except those that are no example, such as empty lines of a table."""
    return (row for row in rows() if not (isinstance(row, BadRow) and row.harmless))


def _refusal(path: Path, reading: Reading) -> str:
    expected = ", ".join(f".{suffix}" for suffix in reading.suffixes)
    suffix = f".{suffix_of(path)} format" if suffix_of(path) else "the name has no suffix"
    if not _is_text(path):
        return f"{path}: {suffix}, not a text file; expected {expected}; save the texts in one of these formats"
    return (
        f"{path}: {suffix}; a {reading.task} model reads {expected}; if each line is a text, give --format txt"
    )


def _is_text(path: Path) -> bool:
    with open_text(path) as file:
        start = file.read(1 << 16)
    return not any(character < " " and not character.isspace() for character in start) and (
        start.isascii() or not any("\udc80" <= character <= "\udcff" for character in start)
    )


def _folder(folder: Path, reading: Reading) -> Input:
    """Return the rows of a folder: of its text files if there are any, else of all files.

    A `.txt` file is one text. Text files next to folders with text files, as in the Large Movie Review Dataset,
    are about the data, and are not read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder))
    texts = [path for path in paths if suffix_of(path) == "txt"] if reading.format is None else []
    folders = {parent for path in texts for parent in path.parent.parents}
    chosen = [path for path in texts if path.parent not in folders]
    if texts:
        opened = {path: _document(path, reading) for path in chosen}
    else:
        files = {path: _open(path, reading) for path in paths}
        opened = {path: _examples(file.rows) for path, file in files.items() if file is not None}
    if not opened:
        expected = ", ".join(f".{suffix}" for suffix in reading.suffixes)
        raise UserError(
            f"{folder}: no file that a {reading.task} model reads; expected {expected}, or folders of .txt files"
        )
    rows = (
        (path.relative_to(folder).as_posix(), row) for path, file_rows in opened.items() for row in file_rows
    )
    return Input(rows, is_folder=True, ignored=_ignored([path for path in paths if path not in opened], folder))


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _ignored(paths: Sequence[Path], folder: Path) -> str:
    if not paths:
        return ""
    names = [path.relative_to(folder).as_posix() for path in paths[:LISTED]]
    names += [f"and {len(paths) - LISTED:,} more"] if len(paths) > LISTED else []
    return f"{folder}: not read: {', '.join(names)}; give one of them as INPUT to read it"
