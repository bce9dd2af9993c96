"""File formats: each is a module of this package that defines `FORMAT`, and is found by that.

A format has a reader, and perhaps a function that decides the layout of a file from its beginning.
"""

from __future__ import annotations

from data.formats.base import Format, Reader, Shape
from data.formats.fields import (
    CONTINUES,
    EMPTY_LINE,
    FIELD_SEPARATOR,
    BadRow,
    Field,
    FieldKind,
    MissingColumn,
    Row,
    Value,
)
from data.formats.layout import Layout, Options
from data.formats.opening import open_text, suffix_of
from data.formats.registry import all_formats, find_format, formats_of
from data.formats.sniffing import File, read_rows, read_text, sniff, sniff_stream

__all__ = [
    "CONTINUES",
    "EMPTY_LINE",
    "FIELD_SEPARATOR",
    "FORMATS",
    "BadRow",
    "Field",
    "FieldKind",
    "File",
    "Format",
    "Layout",
    "MissingColumn",
    "Options",
    "Reader",
    "Row",
    "Shape",
    "Value",
    "find_format",
    "formats_of",
    "open_text",
    "read_rows",
    "read_text",
    "sniff",
    "sniff_stream",
    "suffix_of",
]

FORMATS: dict[str, Format] = all_formats()
"""Formats by name. A suffix belongs to only one format of a shape."""
