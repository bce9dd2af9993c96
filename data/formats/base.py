"""The record of a file format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.formats.fields import BadRow, Field, FieldKind, Row
from data.formats.head import Head
from data.formats.layout import Layout, Options

Shape = Literal["records", "sentences", "document", "lines"]
"""Content of a file: records with named columns; sentences of tokens and tags; one text; a text per line."""
Reader = Callable[[Any, Sequence[Field], Layout], Iterator[Row | BadRow]]
"""Yields the rows of an open, decompressed file: a TextIO, or a seekable BinaryIO if the format is `binary`.
It imports libraries that only its format needs."""
ANY: frozenset[FieldKind] = frozenset(("text", "label", "labels", "tokens", "tags", "words", "flag"))


@dataclass(frozen=True)
class Format:
    """A file format."""

    name: str
    read: Reader
    suffixes: tuple[str, ...]
    """Suffixes of file names, in lower case, without the dot."""
    shape: Shape
    kinds: frozenset[FieldKind] = ANY
    """The kinds of fields that it can hold."""
    title: str = ""
    """Name of the format for people."""
    named: bool = True
    """Whether it has named columns; else it holds one field of each kind."""
    binary: bool = False
    """Whether it is no text."""
    newline: str | None = "\n"
    r"""How lines of a file with line feeds end, as in `data.formats.opening.as_text`."""
    recognize: Callable[[Head, Sequence[Field], Options], bool] | None = None
    """Returns whether a file is surely of this format. Whatever its suffix, it is then read so."""
    sniff: Callable[[Head, Sequence[Field], Options], Layout] | None = None
    """Decides the layout of a file that is read in this format. It raises a UserError without the path if
    the file cannot be read, and `MissingColumn` if it has no column for a field."""

    def missing(self, fields: Sequence[Field]) -> Field | None:
        """Return the first required field that the format cannot hold, or None."""
        seen: set[FieldKind] = set()
        for field in fields:
            if not field.optional and (
                field.kind not in self.kinds
                or (not self.named and (field.kind in seen or bool(field.one_hot)))
            ):
                return field
            seen.add(field.kind)
        return None
