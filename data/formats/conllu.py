"""Sentences of CoNLL-U, the format of Universal Dependencies (universaldependencies.org/format.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from data.errors import UserError, did_you_mean
from data.formats.base import Format
from data.formats.conll_lines import blocks, declared_columns
from data.formats.fields import BadRow, Field, Row, encoding_problem, make_row
from data.formats.head import Head
from data.formats.layout import Layout, Options

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_RAW_TEXT = "# text = "
_TOKENS = "form"


def sniff_conllu(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Decide which columns have the tokens and their tags.

    Args:
        head: of the file.
        fields: that a row needs. A field with other columns is not chosen by the user.
        options: what the user says about files.

    Raises:
        UserError: a column does not exist, or no line has the columns of the format.
    """
    lines = head.lines()
    columns = tuple(name.lower() for name in declared_columns(lines)) or COLUMNS
    if columns[0] != "id" or _TOKENS not in columns:
        raise UserError(
            f"the columns are {', '.join(columns)}; expected id first, and form; let the name end in .conll, "
            "whose columns may be any"
        )
    content = [line for line in lines if line.strip() and not line.startswith("#")]
    if content and not any(len(line.split("\t")) == len(columns) for line in content):
        raise UserError(
            f"no line has the {len(columns)} columns of CoNLL-U, separated by tabs; if it is another format, "
            "let the name end in .conll, whose columns are found"
        )
    chosen = {field.name: _find(field, columns) for field in fields if field.kind in ("tokens", "tags")}
    return Layout("conllu", columns=columns, chosen=chosen)


def _find(field: Field, columns: Sequence[str]) -> str:
    """Return the column of a field, which may be given by name or by number."""
    if field.kind == "tokens" and field.other_columns:
        return _TOKENS
    column = field.column.lower()
    if column in columns:
        return column
    if column.isascii() and column.isdecimal() and 1 <= int(column) <= len(columns):
        return columns[int(column) - 1]
    has = ", ".join(map(repr, columns))
    hint = did_you_mean(column, columns)
    raise UserError(f"no column {field.column!r}; there is {has}; name it with {field.option}{hint}")


def read_conllu(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each sentence, and a bad row for each malformed line of it.

    Ranges such as `1-2` (a word of several tokens) and empty nodes such as `1.1` are not tokens. The raw text
    is in the `# text =` line.
    """
    chosen = [
        (field, layout.columns.index(layout.chosen[field.name]))
        for field in fields
        if field.name in layout.chosen
    ]
    for start, block in blocks(lines):
        yield from _sentence(start, block, fields, chosen, layout)


def _sentence(
    start: int,
    block: list[str],
    fields: Sequence[Field],
    chosen: Sequence[tuple[Field, int]],
    layout: Layout,
) -> Iterator[Row | BadRow]:
    values: dict[str, Any] = {field.column: [] for field, _ in chosen}
    text = next((field for field in fields if field.kind == "text"), None)
    bad = []
    tokens = 0
    for number, line in enumerate(block, start):
        if line.startswith("#"):
            if text is not None and line.startswith(_RAW_TEXT):
                values[text.column] = line.removeprefix(_RAW_TEXT)
            continue
        cells = line.split("\t")
        if problem := encoding_problem(line, encoding=layout.encoding) or _problem(
            cells, len(layout.columns), tokens, chosen
        ):
            bad.append(BadRow(number, problem))
        if not cells[0].isdecimal():
            continue
        tokens = int(cells[0])
        if not problem:
            for field, place in chosen:
                values[field.column].append(cells[place])
    if bad:
        yield from bad
    elif tokens:
        yield make_row(start, values, fields, encoding=layout.encoding)


def _problem(
    cells: Sequence[str], columns: int, tokens: int, chosen: Sequence[tuple[Field, int]]
) -> str | None:
    """Return what is wrong about a line after the given number of tokens, or None."""
    if len(cells) != columns:
        return f"columns: {len(cells)}; in CoNLL-U: {columns}, separated by tabs"
    if re.fullmatch(r"\d+[-.]\d+", cells[0]):
        return None
    if not (cells[0].isascii() and cells[0].isdecimal()):
        return f"the id is {cells[0]!r}; expected a number such as 1, 1-2 or 1.1"
    if int(cells[0]) != tokens + 1:
        return f"the id is {cells[0]}; expected {tokens + 1}, and a blank line between sentences"
    for field, place in chosen:
        if not cells[place].strip():
            return f"column {place + 1} of {field.name} is empty"
    return None


FORMAT = Format(
    "conllu",
    read_conllu,
    ("conllu",),
    "sentences",
    frozenset(("tokens", "tags", "text")),
    title="CoNLL-U",
    named=False,
    sniff=sniff_conllu,
)
