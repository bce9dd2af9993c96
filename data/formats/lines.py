"""Plain text with one text per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from data.formats.base import Format
from data.formats.fields import BadRow, Field, Row, encoding_problem
from data.formats.layout import Layout


def read_lines(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each line; an empty line is an empty text."""
    name = next(field.name for field in fields if field.kind == "text")
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        problem = encoding_problem(text, encoding=layout.encoding)
        yield BadRow(number, problem) if problem else Row(number, {name: text})


FORMAT = Format(
    "lines", read_lines, ("txt",), "lines", frozenset(("text",)), title="a text in each line", named=False
)
