"""Plain text with one text per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from data.formats.fields import BadRow, Field, Row, encoding_problem
from data.formats.opening import as_text


def read_lines(stream: BinaryIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield a row for each line; an empty line is an empty text."""
    name = next(field.name for field in fields if field.kind == "text")
    for number, line in enumerate(as_text(stream), 1):
        text = line.rstrip("\r\n")
        problem = encoding_problem(text)
        yield BadRow(number, problem) if problem else Row(number, {name: text})
