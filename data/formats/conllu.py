"""Sentences of CoNLL-U, the format of Universal Dependencies (universaldependencies.org/format.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from data.errors import UserError
from data.formats.base import Format
from data.formats.conll import blocks
from data.formats.fields import EMPTY_LINE, BadRow, Field, Row, encoding_problem, make_row, missing_column
from data.formats.layout import Layout

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_RAW_TEXT = "# text = "


def read_conllu(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each sentence, with one column as its tags.

    The field of tags names the column that has them. Ranges such as `1-2` (a word of several tokens) and
    empty nodes such as `1.1` are not tokens. The raw text is in the `# text =` line.
    """
    tags = next((field for field in fields if field.kind == "tags"), None)
    column = tags.find(COLUMNS) if tags else None
    if tags is not None and column is None:
        raise UserError(missing_column(tags, COLUMNS))
    place = COLUMNS.index(column) if column else 0
    for start, block in blocks(lines):
        yield _sentence(start, block, fields, place, layout.encoding)


def _sentence(
    start: int, block: list[str], fields: Sequence[Field], place: int, encoding: str
) -> Row | BadRow:
    names = {field.kind: field.column for field in fields}
    values: dict[str, Any] = {"tokens": [], names.get("tags", "tags"): []}
    for number, line in enumerate(block, start):
        if line.startswith("#"):
            if line.startswith(_RAW_TEXT):
                values[names.get("text", "text")] = line.removeprefix(_RAW_TEXT)
            continue
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            return BadRow(number, f"columns: {len(cells)}; in CoNLL-U: {len(COLUMNS)}, separated by tabs")
        if cells[0].isdecimal():
            values["tokens"].append(cells[1])
            values[names.get("tags", "tags")].append(cells[place])
        elif not re.fullmatch(r"\d+[-.]\d+", cells[0]):
            return BadRow(number, f"the id is {cells[0]!r}; expected a number such as 1, 1-2 or 1.1")
        if problem := encoding_problem(line, encoding=encoding):
            return BadRow(number, problem)
    if not values["tokens"]:
        return BadRow(start, EMPTY_LINE)
    return make_row(start, values, fields, encoding=encoding)


FORMAT = Format(
    "conllu",
    read_conllu,
    ("conllu",),
    "sentences",
    frozenset(("tokens", "tags", "text")),
    title="CoNLL-U",
    named=False,
)
