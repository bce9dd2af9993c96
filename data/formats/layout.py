"""How a file is written: what the user says, and what was decided from the content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Header = Literal["auto", "true", "false"]


@dataclass(frozen=True)
class Options:
    """What the user says about files; an empty value is decided from the content."""

    encoding: str = ""
    """A name of Python's codecs, such as `latin-1`."""
    delimiter: str = ""
    """Character between the columns of a table."""
    header: Header = "auto"
    """Whether the first row of a table names the columns."""


@dataclass(frozen=True)
class Layout:
    """How a file is written. An empty value does not apply to its format."""

    format: str
    """Name of the format, a key of `data.formats.FORMATS`."""
    variant: str = ""
    """Which kind of the format: `array`, `lines` or `columns` of JSON; `tabs` or `spaces` of CoNLL."""
    compression: str = ""
    encoding: str = ""
    line_end: str = ""
    """`LF`, `CRLF` or `CR`, if the format depends on it."""
    delimiter: str = ""
    header: bool | None = None
    columns: tuple[str, ...] = ()
    """Names of the columns; their numbers from 1 if there is no header."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """The column that holds each field, by the name of the field."""

    def describe(self) -> str:
        """STUB."""
        return self.format
