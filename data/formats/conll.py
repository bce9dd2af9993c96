"""Sentences of the CoNLL shared tasks: one token per line, with its tag in the last column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TextIO

from data.formats.base import Format
from data.formats.fields import BadRow, Field, Row, encoding_problem, make_row
from data.formats.layout import Layout

_DOCUMENT_START = "-DOCSTART-"


def blocks(lines: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the blocks of lines between blank lines, each with the number of its first line."""
    block: list[str] = []
    number = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            block.append(line.rstrip("\r\n"))
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield number - len(block) + 1, block


def _columns(line: str) -> list[str]:
    """Split at spaces and tabs only: other white space, such as U+00A0 in `10 000`, is part of a token."""
    return re.split("[ \t]+", line.strip(" \t"))


def read_conll(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each sentence; spaces or tabs separate the columns.

    The tag is always the last column: the column of the field of tags is only a name.
    """
    tags = next((field.column for field in fields if field.kind == "tags"), "tags")
    for start, block in blocks(lines):
        tokens: list[str] = []
        names: list[str] = []
        bad: BadRow | None = None
        width = len(_columns(block[-1]))
        for number, line in enumerate(block, start):
            cells = _columns(line)
            # A comment precedes the tokens. It is not a token "#", since its number of columns differs.
            comment = line.startswith("# ") and not tokens and len(cells) != width
            if comment or cells[0] == _DOCUMENT_START:
                continue
            if problem := encoding_problem(line, encoding=layout.encoding):
                bad = bad or BadRow(number, problem)
            elif len(cells) < 2:
                bad = bad or BadRow(number, f"columns: {len(cells)}; expected a token and its tag")
            else:
                tokens.append(cells[0])
                names.append(cells[-1])
        if bad:
            yield bad
        elif tokens:
            yield make_row(start, {"tokens": tokens, tags: names}, fields, encoding=layout.encoding)


FORMAT = Format(
    "conll",
    read_conll,
    ("conll", "bio", "iob2"),
    "sentences",
    frozenset(("tokens", "tags")),
    title="CoNLL",
    named=False,
)
