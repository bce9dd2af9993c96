"""How a file is written: what the user says, and what was decided from the content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from data.formats.values import encoding_title

Header = Literal["auto", "true", "false"]
_TITLED_DELIMITERS = {"TSV": "\t", "CSV": ","}


@dataclass(frozen=True)
class Options:
    """What the user says about files; an empty value is decided from the content."""

    encoding: str = ""
    """A name of Python's codecs, such as `latin-1`."""
    delimiter: str = ""
    """Character between the columns of a table, or `tab`, `comma`, `semicolon`, `pipe` or `space`."""
    header: Header = "auto"
    """Whether the first row of a table names the columns."""


@dataclass(frozen=True)
class Layout:
    """How a file is written. An empty value does not apply to its format."""

    format: str
    """Name of the format, a key of `data.formats.FORMATS`."""
    title: str = ""
    """Name of the format for people, such as `JSON Lines`."""
    variant: str = ""
    """Which kind of the format: `lines`, `array`, `columns` or the key of an array of JSON; `quoted`,
    `unquoted` or `escaped` tables; `tabs` or `spaces` of CoNLL; `spaced` CoNLL-U, which says where no
    space is."""
    compression: str = ""
    encoding: str = ""
    line_end: str = ""
    """`LF`, `CRLF` or `CR`."""
    delimiter: str = ""
    header: bool | None = None
    columns: tuple[str, ...] = ()
    """Names of the columns; their numbers from 1 if there is no header."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """The column that holds each field, by the name of the field."""
    several_labels: bool = False
    """Whether the first rows have sets of labels: lists in JSON, Parquet and Arrow, several `__label__`."""

    def describe(self) -> str:
        """Return the layout in one line; what is usual is left out: UTF-8, line feeds, a header.

        `CSV, gzip, windows-1252, CRLF, columns separated by ';', header: text = 'review', label = 'stars'`
        """
        parts = [self.title or self.format]
        if self.compression:
            parts.append(self.compression)
        if self.encoding not in ("", "utf-8"):
            parts.append(encoding_title(self.encoding))
        if self.line_end not in ("", "LF"):
            parts.append(self.line_end)
        if self.delimiter and _TITLED_DELIMITERS.get(self.title) != self.delimiter:
            parts.append(f"columns separated by {self.delimiter!r}")
        named = {name: column for name, column in self.chosen.items() if name != column}
        if self.header is not None and (named or not self.header):
            parts.append("header" if self.header else "no header")
        if self.several_labels:
            parts.append("several labels in a row")
        chosen = ", ".join(f"{name} = {_shown(column)}" for name, column in named.items())
        return ", ".join(parts) + (f": {chosen}" if chosen else "")


def _shown(column: str) -> str:
    return f"column {column}" if column.replace(",", "").isdecimal() else repr(column)
