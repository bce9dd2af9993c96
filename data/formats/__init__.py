"""File formats: a module for each, and one dict of them all.

A new format is a module with a reader, and a line in `FORMATS`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from data.errors import UserError
from data.formats.conll import read_conll
from data.formats.conllu import read_conllu
from data.formats.documents import read_document
from data.formats.fields import CONTINUES, EMPTY_LINE, NAMED, BadRow, Field, FieldKind, Row, Value
from data.formats.jsonl import read_jsonl
from data.formats.layout import Layout, Options
from data.formats.lines import read_lines
from data.formats.opening import open_binary, open_text, suffix_of
from data.formats.tables import read_csv, read_tsv

__all__ = [
    "CONTINUES",
    "EMPTY_LINE",
    "FORMATS",
    "NAMED",
    "BadRow",
    "Field",
    "FieldKind",
    "File",
    "Format",
    "Layout",
    "Options",
    "Reader",
    "Row",
    "Shape",
    "Value",
    "find_format",
    "formats_of",
    "open_text",
    "read_rows",
    "sniff",
    "suffix_of",
]

Shape = Literal["records", "sentences", "document", "lines"]
"""Content of a file: records with named columns; sentences of tokens and tags; one text; a text per line."""
Reader = Callable[[BinaryIO, Sequence[Field]], Iterator[Row | BadRow]]
"""Yields the rows of an open, decompressed file. It imports libraries that only its format needs."""
ANY: frozenset[FieldKind] = frozenset(("text", "label", "labels", "tokens", "tags", "flag"))


@dataclass(frozen=True)
class Format:
    """A file format."""

    name: str
    read: Reader
    suffixes: tuple[str, ...]
    """Suffixes of file names, in lower case, without the dot."""
    shape: Shape
    kinds: frozenset[FieldKind] = ANY
    """The kinds of fields that it can hold. Formats without named columns hold one field of each kind."""

    def missing(self, fields: Sequence[Field]) -> Field | None:
        """Return the first required field that the format cannot hold, or None."""
        seen: set[FieldKind] = set()
        for field in fields:
            if not field.optional and (
                field.kind not in self.kinds or (self.shape != "records" and field.kind in seen)
            ):
                return field
            seen.add(field.kind)
        return None


_TAGGED: frozenset[FieldKind] = frozenset(("tokens", "tags"))
_CELLS: frozenset[FieldKind] = frozenset(("text", "label", "labels", "flag"))
FORMATS: dict[str, Format] = {
    "jsonl": Format("jsonl", read_jsonl, ("jsonl",), "records"),
    "csv": Format("csv", read_csv, ("csv",), "records", _CELLS),
    "tsv": Format("tsv", read_tsv, ("tsv",), "records", _CELLS),
    "conllu": Format("conllu", read_conllu, ("conllu",), "sentences", _TAGGED | {"text"}),
    "conll": Format(
        "conll", read_conll, ("conll", "bio", "iob2"), "sentences", frozenset(("tokens", "tags"))
    ),
    "txt": Format("txt", read_document, ("txt",), "document", frozenset(("text", "flag"))),
    "lines": Format("lines", read_lines, ("txt",), "lines", frozenset(("text",))),
}
"""Formats by name. A suffix belongs to only one format of a shape."""


def formats_of(shapes: Collection[Shape], fields: Sequence[Field] = ()) -> dict[str, Format]:
    """Return the formats of some shapes that can hold the fields, by suffix, in the order of the shapes."""
    return {
        suffix: format
        for shape in shapes
        for format in FORMATS.values()
        if format.shape == shape and format.missing(fields) is None
        for suffix in format.suffixes
    }


def find_format(path: Path, shapes: Collection[Shape]) -> Format | None:
    """Return the format of a file by its suffix, or None if it has none of the shapes."""
    return formats_of(shapes).get(suffix_of(path))


def read_rows(path: Path, fields: Sequence[Field], reader: Reader) -> Iterator[Row | BadRow]:
    """Yield the rows of a file, in order.

    Raises:
        UserError: the file cannot be opened, or its header lacks a column.
    """
    try:
        with open_binary(path) as stream:
            yield from reader(stream, fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


@dataclass(frozen=True)
class File:
    """A file whose layout is decided."""

    path: Path
    layout: Layout
    rows: Callable[[], Iterator[Row | BadRow]]
    """Returns an iterator over the rows, in order."""


def sniff(
    path: Path, fields: Sequence[Field], shapes: Collection[Shape], options: Options | None = None
) -> File | None:
    """Decide the layout of a file from its first bytes and lines; None: its format is not known.

    Args:
        path: of the file.
        fields: that a row needs.
        shapes: of the files that a task reads.
        options: what the user says about files.

    Raises:
        UserError: the file cannot be opened, its format cannot hold the fields, or a column does not exist.
    """
    format = find_format(path, shapes)
    if format is None:
        return None
    if (field := format.missing(fields)) is not None:
        able = ", ".join(f".{suffix}" for suffix in formats_of(shapes, fields))
        raise UserError(
            f"{path}: format {format.name} has no column {field.column!r} ({field.name}); use {able}"
        )
    return File(path, Layout(format.name), lambda: read_rows(path, fields, format.read))
