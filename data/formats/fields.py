"""Fields that a task needs of each example, the columns that hold them, and rows of checked values.

A reader never stops at a malformed row: it yields a `BadRow` in its place. So preparing a dataset can refuse
the first one, the data check can list them all, and prediction can skip them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import UserError, did_you_mean
from data.formats.token_objects import located
from data.formats.values import (
    check_flag,
    check_label,
    check_labels,
    check_list,
    check_one_hot,
    check_text,
    check_words,
    encoding_problem,
    json_type,
)
from data.names import clean_name

__all__ = [
    "CONTINUES",
    "EMPTY_LINE",
    "FIELD_SEPARATOR",
    "BadRow",
    "Field",
    "FieldKind",
    "MissingColumn",
    "Row",
    "Value",
    "build_row",
    "encoding_problem",
    "find_columns",
    "json_type",
    "make_row",
    "missing_column",
]

FieldKind = Literal["text", "label", "labels", "tokens", "tags", "words", "flag"]
"""A text; one of a fixed set of names; a set of such names; a list of tokens; a name for each token; the
words of each token, as in `data.multiword`; true or false."""
Value = str | tuple[str, ...] | bool

EMPTY_LINE = "the line is empty"
CONTINUES = "continues"
"""Name of the flag of a piece of text that continues the text of the previous row."""
FIELD_SEPARATOR = "\N{SYMBOL FOR RECORD SEPARATOR}"
"""Token between the texts of several columns, with a space on each side."""
_NAMES: frozenset[FieldKind] = frozenset(("label", "labels"))


@dataclass(frozen=True)
class Field:
    """A value that a task needs of each row."""

    name: str
    kind: FieldKind
    column: str
    """Name of a column, or its number from 1; of a text, several, separated by commas. A column with exactly
    this name is preferred."""
    option: str
    """The option that names another column, e.g. `--set data.label_column=NAME`."""
    other_columns: tuple[str, ...] = ()
    """Columns that are used if `column` does not exist."""
    optional: bool = False
    """Whether a row may lack the value."""
    separator: str = ""
    """What separates the labels in a cell of a table; empty: a cell holds one label."""
    one_hot: tuple[str, ...] = ()
    """Columns of 0 and 1, one for each label and named after it, in place of `column`."""

    def find(self, present: Sequence[str] | Mapping[str, Any]) -> str | None:
        """Return the column that holds the value, of those present."""
        return next((column for column in (self.column, *self.other_columns) if column in present), None)

    def parts(self) -> tuple[str, ...]:
        """Return the columns, of which all are needed if no column is named `column`."""
        if self.one_hot:
            return self.one_hot
        if self.kind == "text" and "," in self.column:
            return tuple(part.strip() for part in self.column.split(","))
        return (self.column,)


class MissingColumn(UserError):
    """A file has no column for a field."""

    def __init__(self, message: str, field: Field) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Row:
    """One example: field name to value. `line` counts from 1."""

    line: int
    values: dict[str, Value]

    def text(self, name: str = "text") -> str:
        """Return the value of a field that is one text."""
        value = self.values[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} is not a text: {value!r}")
        return value

    def tokens(self, name: str = "tokens") -> tuple[str, ...]:
        """Return the value of a field that is a sequence."""
        value = self.values[name]
        if not isinstance(value, tuple):
            raise TypeError(f"{name} is not a sequence: {value!r}")
        return value


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read, and the reason."""

    line: int
    reason: str
    harmless: bool = False
    """Whether the row is no example, such as a repeated header, and is left out."""


def find_columns(field: Field, present: Sequence[str], *, numbered: bool = False) -> tuple[int, ...] | None:
    """Return the positions of the columns that hold a field; None: one does not exist.

    Args:
        field: of one column, or of several.
        present: names of the columns, cleaned.
        numbered: whether columns may be given by number, from 1. A name is preferred.
    """
    for name in (field.column, *field.other_columns) if not field.one_hot else ():
        if clean_name(name) in present:
            return (present.index(clean_name(name)),)
    places = [_place(part, present, numbered) for part in field.parts()]
    return None if None in places else tuple(place for place in places if place is not None)


def _place(name: str, present: Sequence[str], numbered: bool) -> int | None:
    name = clean_name(name)
    if name in present:
        return present.index(name)
    if numbered and name.isascii() and name.isdecimal() and 1 <= int(name) <= len(present):
        return int(name) - 1
    return None


def missing_column(field: Field, present: Sequence[str], *, numbered: bool = False) -> str:
    """Return the message for a column that does not exist."""
    missing = next((part for part in field.parts() if _place(part, present, numbered) is None), field.column)
    has = ", ".join(repr(name) for name in present)
    hint = did_you_mean(missing, present)
    return f"no column {missing!r}; there is {has or 'none'}; name it with {field.option}{hint}"


def make_row(
    line: int,
    values: Mapping[str, Any],
    fields: Sequence[Field],
    *,
    from_json: bool = False,
    encoding: str = "utf-8",
) -> Row | BadRow:
    """Return a row of the fields, each value checked, or the reason why there is none.

    A row without a label lacks that field.

    Args:
        line: number of the row's first line, from 1.
        values: column name to value.
        fields: the fields that are needed; other columns are ignored.
        from_json: whether the strings were written in JSON.
        encoding: of the file, for messages.
    """
    found: list[tuple[Field, Sequence[str], Sequence[object]]] = []
    cleaned: dict[str, Any] | None = None
    for field in fields:
        if not field.one_hot and (column := field.find(values)) is not None:
            found.append((field, (column,), (values[column],)))
            continue
        cleaned = cleaned if cleaned is not None else {clean_name(name): values[name] for name in values}
        names = list(cleaned)
        places = find_columns(field, names)
        if places is not None:
            columns = [names[place] for place in places]
            found.append((field, columns, [cleaned[column] for column in columns]))
        elif not (field.optional or (field.kind in _NAMES and not field.one_hot)):
            return BadRow(line, missing_column(field, names))
    return build_row(line, found, from_json=from_json, encoding=encoding)


def build_row(
    line: int,
    found: Iterable[tuple[Field, Sequence[str], Sequence[object]]],
    *,
    from_json: bool = False,
    encoding: str = "utf-8",
) -> Row | BadRow:
    """Return a row of values whose columns are known, each checked, or the reason why there is none.

    Args:
        line: number of the row's first line, from 1.
        found: each field with the names and the values of its columns.
        from_json: whether the strings were written in JSON.
        encoding: of the file, for messages.
    """
    values: dict[str, Value] = {}
    found = list(found)
    try:
        for field, columns, raw in found:
            if field.optional and len(raw) == 1 and raw[0] is None:
                continue
            if field.kind == "tokens" and isinstance(raw[0], list):
                raw = [located(columns[0], raw[0], _only_text(found))]
            value = _value(field, columns, raw, from_json=from_json, encoding=encoding)
            if value is not None:
                values[field.name] = value
        _check_aligned(values, [field for field, _, _ in found])
    except ValueError as error:
        return BadRow(line, str(error))
    return Row(line, values)


def _only_text(found: Sequence[tuple[Field, Sequence[str], Sequence[object]]]) -> object:
    """Return the value of the column of the text, which tokens may be offsets of; None: there is none."""
    return next((raw[0] for field, _, raw in found if field.kind == "text" and len(raw) == 1), None)


def _value(
    field: Field, columns: Sequence[str], raw: Sequence[object], *, from_json: bool, encoding: str
) -> Value | None:
    """Return a field's value, checked; None: the row has no label. Raise ValueError with the reason."""
    if field.one_hot:
        return check_one_hot(columns, raw)
    column, value = columns[0], raw[0]
    match field.kind:
        case "text":
            texts = [
                check_text(repr(name), text, from_json=from_json, encoding=encoding)
                for name, text in zip(columns, raw, strict=True)
            ]
            return f" {FIELD_SEPARATOR} ".join(texts)
        case "label":
            return check_label(repr(column), value, from_json=from_json, encoding=encoding)
        case "labels":
            return check_labels(column, value, field.separator, from_json=from_json, encoding=encoding)
        case "flag":
            return check_flag(repr(column), value)
        case "words":
            words = check_words(column, value, from_json=from_json, encoding=encoding)
            return words if any(words) else None
        case _:
            names = field.kind == "tags"
            return check_list(column, value, names=names, from_json=from_json, encoding=encoding)


def _check_aligned(values: Mapping[str, Value], fields: Sequence[Field]) -> None:
    lengths = {
        field.name: len(value)
        for field in fields
        if field.kind in ("tokens", "tags", "words") and isinstance(value := values.get(field.name), tuple)
    }
    if len(set(lengths.values())) > 1:
        raise ValueError("misaligned: " + ", ".join(f"{n} {name}" for name, n in lengths.items()))
