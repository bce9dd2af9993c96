"""Fields that a task needs of each example, and the checks of their values.

A reader never stops at a malformed row: it yields a `BadRow` in its place. So preparing a dataset can refuse
the first one, the data check can list them all, and prediction can skip them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import did_you_mean

FieldKind = Literal["text", "label", "labels", "tokens", "tags", "flag"]
"""A text; one of a fixed set of names; a set of such names; a list of tokens; a name for each token; true or
false."""
NAMED: frozenset[FieldKind] = frozenset(("label", "labels", "tags"))
"""Kinds whose values are names of a fixed set, which are stored as ids."""
Value = str | tuple[str, ...] | bool

EMPTY_LINE = "the line is empty"
CONTINUES = "continues"
"""Name of the flag of a piece of text that continues the text of the previous row."""

_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True)
class Field:
    """A value that a task needs of each row."""

    name: str
    kind: FieldKind
    column: str
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


def json_type(value: object) -> str:
    """Return the name of a JSON value's type, for messages."""
    return _JSON_TYPES.get(type(value), "another value")


def encoding_problem(value: str, *, from_json: bool = False) -> str | None:
    r"""Return why a string is not valid UTF-8, or None.

    A surrogate is an undecodable byte of the file, or a `\uXXXX` of JSON.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        if 0xDC80 <= code <= 0xDCFF and not from_json:
            return f"not UTF-8: byte 0x{code - 0xDC00:02x} at character {error.start + 1}"
        return f"not valid Unicode: a lone surrogate \\u{code:04x} at character {error.start + 1}"
    return None


def missing_column(field: Field, present: Sequence[str]) -> str:
    """Return the message for a column that does not exist."""
    has = ", ".join(repr(name) for name in present)
    hint = did_you_mean(field.column, present)
    return f"no column {field.column!r}; there is {has or 'none'}; name it with {field.option}{hint}"


def make_row(
    line: int, values: Mapping[str, Any], fields: Sequence[Field], *, from_json: bool = False
) -> Row | BadRow:
    """Return a row of the fields, each value checked, or the reason why there is none.

    Args:
        line: number of the row's first line, from 1.
        values: column name to value.
        fields: the fields that are needed; other columns are ignored.
        from_json: whether the strings were written in JSON.
    """
    found: dict[str, Value] = {}
    try:
        for field in fields:
            column = field.find(values)
            if field.optional and (column is None or values[column] is None):
                continue
            if column is None:
                raise ValueError(missing_column(field, list(values)))
            found[field.name] = _value(field, column, values[column], from_json=from_json)
        _check_aligned(found, fields)
    except ValueError as error:
        return BadRow(line, str(error))
    return Row(line, found)


def _string(name: str, value: object, *, from_json: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {json_type(value)}, not a text")
    if problem := encoding_problem(value, from_json=from_json):
        raise ValueError(f"{name} is {problem}")
    return value


def _name(name: str, value: object, *, from_json: bool) -> str:
    """Return a label or a tag: a text of one line, or a number."""
    if isinstance(value, bool | int):
        return json.dumps(value)
    value = _string(name, value, from_json=from_json).strip()
    if not value:
        raise ValueError(f"{name} is empty")
    if len(value.splitlines()) > 1:
        raise ValueError(f"{name} has a line break")
    return value


def _flag(name: str, value: object) -> bool:
    """Return true or false; a cell of a table holds it as a text, in upper or lower case."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if not isinstance(value, bool):
        shown = repr(value) if isinstance(value, str) else json_type(value)
        raise ValueError(f"{name} is {shown}, not true or false")
    return value


def _value(field: Field, column: str, value: object, *, from_json: bool) -> Value:
    """Return a field's value, checked; raise ValueError with the reason."""
    if field.kind == "text":
        return _string(repr(column), value, from_json=from_json)
    if field.kind == "label":
        return _name(repr(column), value, from_json=from_json)
    if field.kind == "flag":
        return _flag(repr(column), value)
    if not isinstance(value, list):
        raise ValueError(f"{column!r} is {json_type(value)}, not a list")
    check = _name if field.kind == "tags" else _string
    items = tuple(check(f"{column}[{i}]", item, from_json=from_json) for i, item in enumerate(value))
    if "" in items:
        raise ValueError(f"{column}[{items.index('')}] is empty")
    return items


def _check_aligned(values: Mapping[str, Value], fields: Sequence[Field]) -> None:
    lengths = {
        field.name: len(value) for field in fields if isinstance(value := values.get(field.name), tuple)
    }
    if len(set(lengths.values())) > 1:
        raise ValueError("misaligned: " + ", ".join(f"{n} {name}" for name, n in lengths.items()))
