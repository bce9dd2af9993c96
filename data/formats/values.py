"""Checks of single values: texts, names, sets of names, lists and flags.

Each check raises a ValueError whose message has the name of the column.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from data.multiword import packed_words
from data.names import clean_name, control_character

SEVERAL_LABELS = "read several labels of each example with --set data.labels=several"
_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_ONE_HOT = {"0": False, "1": True, "true": True, "false": False}


def json_type(value: object) -> str:
    """Return the name of a JSON value's type, for messages."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return _JSON_TYPES.get(type(value), "another value")


def encoding_title(encoding: str) -> str:
    """Return the name of an encoding as it is usually written."""
    return encoding.upper() if encoding.startswith("utf") else encoding


def encoding_problem(value: str, *, from_json: bool = False, encoding: str = "utf-8") -> str | None:
    r"""Return why a string is not valid Unicode, or None.

    A surrogate is an undecodable byte of the file, or a `\uXXXX` of JSON.

    Args:
        value: the string.
        from_json: whether it was written in JSON.
        encoding: of the file, for the message.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        if 0xDC00 <= code <= 0xDCFF and not from_json:
            return (
                f"not {encoding_title(encoding)}: byte 0x{code - 0xDC00:02x} at character {error.start + 1}"
            )
        return f"not valid Unicode: a lone surrogate \\u{code:04x} at character {error.start + 1}"
    return None


def check_text(name: str, value: object, *, from_json: bool = False, encoding: str = "utf-8") -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {json_type(value)}, not a text")
    if problem := encoding_problem(value, from_json=from_json, encoding=encoding):
        raise ValueError(f"{name} is {problem}")
    return value


def check_name(name: str, value: object, *, from_json: bool = False, encoding: str = "utf-8") -> str:
    """Return a label or a tag, cleaned; it may be empty.

    Numbers, `true` and `false` are names as JSON writes them: 1 and 1.0 are two names.
    """
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    value = clean_name(check_text(name, value, from_json=from_json, encoding=encoding))
    if (character := control_character(value)) is not None:
        what = "a line break" if len(f".{character}.".splitlines()) > 1 else "a control character"
        raise ValueError(f"{name} has {what}: {value!r}")
    return value


def check_label(name: str, value: object, *, from_json: bool = False, encoding: str = "utf-8") -> str | None:
    """Return a label; None: there is none, since the value is null or empty."""
    if value is None:
        return None
    if isinstance(value, list):
        raise ValueError(f"{name} is a list, not one label; {SEVERAL_LABELS}")
    return check_name(name, value, from_json=from_json, encoding=encoding) or None


def check_labels(
    column: str, value: object, separator: str, *, from_json: bool = False, encoding: str = "utf-8"
) -> tuple[str, ...] | None:
    """Return a set of labels, without repetitions and in order; None: there is none, since the value is null.

    Args:
        column: its name.
        value: a list of labels, or a text.
        separator: what separates the labels of a text; empty: it is one label.
        from_json: whether the value was written in JSON.
        encoding: of the file.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        parts = value.split(separator) if separator and isinstance(value, str) else [value]
        labels = [check_name(repr(column), part, from_json=from_json, encoding=encoding) for part in parts]
    else:
        labels = [
            check_name(f"{column}[{i}]", item, from_json=from_json, encoding=encoding)
            for i, item in enumerate(value)
        ]
    return tuple(dict.fromkeys(label for label in labels if label))


def check_one_hot(columns: Sequence[str], values: Sequence[object]) -> tuple[str, ...] | None:
    """Return the columns that are 1 or true, the others being 0 or false; None: all are null, empty or -1."""
    if all(_is_unknown(value) for value in values):
        return None
    labels = []
    for column, value in zip(columns, values, strict=True):
        cell = value.strip().lower() if isinstance(value, str) else json.dumps(value, default=json_type)
        if cell not in _ONE_HOT:
            shown = repr(value) if isinstance(value, str | int) else json_type(value)
            raise ValueError(f"{column!r} is {shown}; expected 0, 1, true or false")
        if _ONE_HOT[cell]:
            labels.append(column)
    return tuple(labels)


def _is_unknown(value: object) -> bool:
    if isinstance(value, str):
        return value.strip() in ("", "-1")
    return value is None or (value == -1 and not isinstance(value, bool))


def check_flag(name: str, value: object) -> bool:
    """Return true or false; a cell of a table holds it as a text, in upper or lower case."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if not isinstance(value, bool):
        shown = repr(value) if isinstance(value, str) else json_type(value)
        raise ValueError(f"{name} is {shown}, not true or false")
    return value


def check_list(
    column: str, value: object, *, names: bool, from_json: bool = False, encoding: str = "utf-8"
) -> tuple[str, ...]:
    """Return a list of tokens, or of `names`, none of which is empty."""
    if not isinstance(value, list):
        raise ValueError(f"{column!r} is {json_type(value)}, not a list")
    check = check_name if names else check_text
    items = tuple(
        check(f"{column}[{i}]", item, from_json=from_json, encoding=encoding) for i, item in enumerate(value)
    )
    if "" in items:
        raise ValueError(f"{column}[{items.index('')}] is empty")
    return items


def check_words(
    column: str, value: object, *, from_json: bool = False, encoding: str = "utf-8"
) -> tuple[str, ...]:
    """Return the words of each token as `data.multiword.pack` does; a reader may have packed them already."""
    if not isinstance(value, list):
        raise ValueError(f"{column!r} is {json_type(value)}, not a list")
    found = []
    for i, item in enumerate(value):
        own = f"{column}[{i}]"

        def checked(key: str, cell: object, own: str = own) -> str:
            check = check_text if key == "text" else check_name
            return check(f"{key} of {own}", cell, from_json=from_json, encoding=encoding)

        if isinstance(item, str) and not from_json:
            found.append(check_text(own, item, encoding=encoding))
            continue
        try:
            found.append(packed_words(item, checked))
        except ValueError as error:
            raise ValueError(f"{own}: {error}") from None
    return tuple(found)
