"""Sentences of the CoNLL shared tasks: one token per line, with its tag in another column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TextIO

from data.errors import UserError
from data.formats.base import Format
from data.formats.conll_columns import POSITION, decide_columns
from data.formats.conll_lines import (
    blocks,
    is_document_mark,
    is_part_of_token,
    range_of_words,
    split_line,
)
from data.formats.fields import BadRow, Field, Row, encoding_problem, make_row
from data.formats.head import Head
from data.formats.layout import Layout, Options
from data.multiword import TokenColumns

_BLOCKS_AHEAD = 200
"""Number of sentences whose tags are known before the first is read."""
_MOSTLY = 0.9
"""Share of the lines with the same number of columns by which a file is recognized."""
_SUFFIXES = ("conll", "conllp", "conllup", "bio", "bio2", "bioes", "bilou", "iob", "iob1", "iob2")
_SPAN_TAG = re.compile("[BIMELSUW]-.+")


def recognize_conll(head: Head, fields: Sequence[Field], options: Options) -> bool:
    """Return whether a file has tokens and tags in columns, and blank lines between sentences."""
    if head.suffix in _SUFFIXES:
        return True
    if not any(field.kind == "tokens" and not field.optional for field in fields):
        return False
    lines = head.lines()
    try:
        layout = decide_columns(lines, fields, options)
    except UserError:
        return False
    sentences = [block for _, block in blocks(lines)]
    rows = [split_line(line, layout.delimiter) for block in sentences for line in block]
    fitting = sum(len(row) == len(layout.columns) for row in rows)
    return len(sentences) > 1 and len(rows) > len(sentences) and fitting > _MOSTLY * len(rows)


def sniff_conll(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Decide what separates the columns, and which ones are needed.

    Raises:
        UserError: no blank line ends a sentence, or the columns are not good.
    """
    lines = head.lines()
    if not head.whole and lines and all(line.strip() for line in lines):
        raise UserError(f"no blank line in the first {len(lines):,} lines; separate sentences by blank lines")
    return decide_columns(lines, fields, options)


def read_conll(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each sentence, and a bad row for each malformed line of it.

    A line before the tokens of a sentence is a comment if it begins with `#`, and has another number of
    columns, or a tag that no other line has. If a column counts the tokens, a range in it such as `1-2` is
    one token of several words, as in `data.multiword`.
    """
    reader = _Reader(fields, layout)
    pending = blocks(lines)
    ahead = list(islice(pending, _BLOCKS_AHEAD))
    for _, block in ahead:
        reader.learn(block)
    for start, block in chain(ahead, pending):
        yield from reader.sentence(start, block)


class _Reader:
    """Reads the sentences of a file, whose layout is known."""

    def __init__(self, fields: Sequence[Field], layout: Layout) -> None:
        self._fields = fields
        self._encoding = layout.encoding
        self._delimiter = layout.delimiter
        self._number = len(layout.columns)
        self._header = bool(layout.header)
        self._known: set[str] = set()
        places = {name: layout.columns.index(column) for name, column in layout.chosen.items()}
        self._position = places.pop(POSITION, None)
        self._chosen = [(field, places[field.name]) for field in fields if field.name in places]
        self._named = {field.name for field, _ in self._chosen}
        self._tags = next((place for field, place in self._chosen if field.kind == "tags"), None)
        self._tokens = next((place for field, place in self._chosen if field.kind == "tokens"), 0)

    def learn(self, block: Sequence[str]) -> None:
        """Remember the tags of lines that are certainly no comments."""
        if self._tags is None:
            return
        begun = False
        for line in block:
            begun = begun or not line.startswith("#")
            cells = split_line(line, self._delimiter)
            if begun and len(cells) == self._number:
                self._known.add(cells[self._tags])

    def sentence(self, start: int, block: Sequence[str]) -> Iterator[Row | BadRow]:
        """Yield the row of a sentence, or its bad rows."""
        columns = TokenColumns(self._tokens, self._tags)
        bad = []
        begun = False
        for number, line in enumerate(block, start):
            cells = split_line(line, self._delimiter)
            if is_document_mark(line) or (not begun and self._is_comment(line, cells)):
                continue
            if self._header:
                self._header = False
                continue
            begun = True
            if problem := (
                encoding_problem(line, encoding=self._encoding)
                or self._problem(cells)
                or self._add(columns, number, cells)
            ):
                bad.append(BadRow(number, problem))
        if (left := columns.unfinished()) and not bad:
            bad.append(BadRow(left.line, f"the range {left.first}-{left.last} has too few words"))
        if bad:
            yield from bad
        elif columns.tokens:
            values = {
                field.column: columns.of_kind[field.kind]
                for field in self._fields
                if field.kind in columns.of_kind and (field.kind == "words" or field.name in self._named)
            }
            if self._tags is not None:
                self._known.update(columns.tags)
            yield make_row(start, values, self._fields, encoding=self._encoding)

    def _add(self, columns: TokenColumns, number: int, cells: Sequence[str]) -> str | None:
        """Add a line; return what is wrong about it, or None."""
        position = "" if self._position is None else cells[self._position]
        if found := range_of_words(position):
            return columns.begin(number, *found, cells)
        if not is_part_of_token(position):
            columns.add(cells)
        return None

    def _is_comment(self, line: str, cells: Sequence[str]) -> bool:
        if not line.startswith("#"):
            return False
        if len(cells) != self._number:
            return True
        tag = None if self._tags is None else cells[self._tags]
        return not (tag is None or tag == "#" or tag in self._known or _SPAN_TAG.fullmatch(tag))

    def _problem(self, cells: Sequence[str]) -> str | None:
        if len(cells) != self._number:
            return f"columns: {len(cells)}; the other lines have {self._number}"
        for field, place in self._chosen:
            if not cells[place]:
                return f"column {place + 1} of {field.name} is empty"
        return None


FORMAT = Format(
    "conll",
    read_conll,
    _SUFFIXES,
    "sentences",
    frozenset(("tokens", "tags", "words")),
    title="CoNLL",
    named=False,
    recognize=recognize_conll,
    sniff=sniff_conll,
)
