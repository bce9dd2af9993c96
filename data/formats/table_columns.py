"""The header and the columns of a table, decided from its first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from data.formats.fields import Field
from data.formats.layout import Options
from data.formats.table_layout import names_columns
from data.names import clean_name

_NAME_CHARACTERS = 60
_NAME_WORDS = 5
_LABEL_CHARACTERS = 40
_SHOWN_CHARACTERS = 24
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[-+]?\d+)?", re.IGNORECASE)


def has_header(rows: Sequence[Sequence[str]], fields: Sequence[Field], options: Options) -> bool:
    """Return whether the first row names the columns.

    It does if it has the name of a column that is needed. Otherwise it does not if a cell of it is a number,
    is long, is equal to another one, or occurs again in its column.
    """
    if options.header != "auto":
        return options.header == "true"
    if names_columns(rows[0], fields):
        return True
    first = [clean_name(cell) for cell in rows[0]]
    if any(_NUMBER.fullmatch(cell) or not _is_short(cell) for cell in first):
        return False
    named = [cell for cell in first if cell]
    if not named or len(set(named)) < len(named):
        return False
    return not any(
        cell in (clean_name(row[place]) for row in rows[1:] if place < len(row))
        for place, cell in enumerate(first)
        if cell
    )


def _is_short(cell: str) -> bool:
    return len(cell) <= _NAME_CHARACTERS and len(cell.split()) <= _NAME_WORDS


@dataclass(frozen=True)
class _Column:
    """What is known of the values of a column."""

    number: int
    cells: list[str]

    def length(self) -> float:
        return sum(map(len, self.cells)) / max(1, len(self.cells))

    def distinct(self) -> int:
        return len(set(self.cells))

    def is_of_labels(self) -> bool:
        """Return whether the values are few and short, and occur again."""
        return 2 * self.distinct() <= len(self.cells) and all(
            0 < len(cell) <= _LABEL_CHARACTERS for cell in self.cells
        )


def _columns(rows: Sequence[Sequence[str]]) -> list[_Column]:
    width = len(rows[0])
    whole = [row for row in rows if len(row) == width]
    return [_Column(place + 1, [clean_name(row[place]) for row in whole]) for place in range(width)]


def guess_columns(rows: Sequence[Sequence[str]], fields: Sequence[Field]) -> dict[str, str] | None:
    """Return the column of each field of a table without a header, if it is clear; by the field's name.

    It is clear for one text and perhaps one label if only one of two columns has few and short values that
    occur again, or if a text is all that is needed and there is one column.
    """
    required = [field for field in fields if not field.optional]
    kinds = sorted(field.kind for field in required)
    columns = _columns(rows)
    if kinds == ["text"] and len(columns) == 1:
        return {required[0].name: "1"}
    if kinds not in (["text"], ["label", "text"], ["labels", "text"]) or len(columns) != 2:
        return None
    label = [column for column in columns if column.is_of_labels()]
    if len(label) != 1:
        return None
    text = next(column for column in columns if column not in label)
    return {field.name: str((text if field.kind == "text" else label[0]).number) for field in required}


def name_by_number(rows: Sequence[Sequence[str]], missing: Sequence[Field], fields: Sequence[Field]) -> str:
    """Return the message for a table without a header whose columns are not clear."""
    columns = _columns(rows)
    shown = ", ".join(
        f"{column.number}: {_shown(column.cells[0] if column.cells else '')!r}" for column in columns
    )
    by_length = sorted(columns, key=_Column.length, reverse=True)
    by_distinct = sorted(columns, key=_Column.distinct)
    free = {column.number for column in columns}
    advice = []
    for field in fields:
        if field not in missing or not field.option.endswith("NAME"):
            continue
        order = by_length if field.kind == "text" else by_distinct
        number = next((column.number for column in order if column.number in free), columns[0].number)
        free.discard(number)
        advice.append(field.option.removesuffix("NAME") + str(number))
    return (
        f"no column {missing[0].column!r}, since there is no header; the first row is {shown}; name "
        f"columns by number, e.g. {' '.join(advice)}, or add a header"
    )


def _shown(cell: str) -> str:
    return cell if len(cell) <= _SHOWN_CHARACTERS else cell[: _SHOWN_CHARACTERS - 1] + "…"
