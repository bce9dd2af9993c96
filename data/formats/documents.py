"""Plain text that is one document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from data.formats.base import Format
from data.formats.fields import BadRow, Field, Row, encoding_problem
from data.formats.layout import Layout

PIECE_CHARACTERS = 1 << 16
"""Approximate size of the pieces in which a document is stored."""


def read_document(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield one text in pieces of whole lines; all except the first are marked as continuations.

    Very long lines are split too, after a space if there is one.
    """
    text, flag = (next(f.name for f in fields if f.kind == kind) for kind in ("text", "flag"))
    piece: list[str] = []
    size, start, number = 0, 1, 0
    line_ended, continues = True, False

    def row() -> Row:
        return Row(start, {text: "".join(piece), flag: continues})

    while line := lines.readline(PIECE_CHARACTERS):
        number += line_ended
        line_ended = line.endswith("\n")
        if problem := encoding_problem(line, encoding=layout.encoding):
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
            piece, size, start, continues = [line[end:]] * (end < len(line)), len(line) - end, number, True
    if piece:
        yield row()


FORMAT = Format(
    "txt", read_document, ("txt",), "document", frozenset(("text", "flag")), title="text", named=False
)
