"""Tokens of JSON that are objects, or offsets of a text, in place of strings.

A token is an object such as `{"text": "Oslo", "start": 0, "end": 4, "tag": "B-LOC"}`, as `predict` prints it,
or its offsets `[0, 4]`: start and end (exclusive) in characters of the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.formats.fields import Field

_TAG, _WORDS, _TEXT, _START, _END = "tag", "words", "text", "start", "end"
MOST_SPACES = 1000
"""Number of spaces between two tokens up to which a text is rebuilt."""
_NO_TEXT = "offsets, but there is no text; name its column with --set data.text_column=NAME"


def flattened(values: Mapping[str, Any], fields: Sequence[Field]) -> Mapping[str, Any]:
    """Return an object whose tokens are strings or offsets, with columns of what else its tokens have.

    Tokens with `start` and `end` become `[start, end]`, or `[start, end, text]`. Without a text it is rebuilt
    of the tokens, with spaces between them.

    Raises:
        ValueError: tokens lack what the others have.
    """
    by_kind = {field.kind: field for field in fields}
    tokens = by_kind.get("tokens")
    column = tokens.find(values) if tokens is not None else None
    items = values[column] if column is not None else None
    if column is None or not isinstance(items, list) or not any(isinstance(item, dict) for item in items):
        return values
    found = dict(values)
    found[column] = _tokens(column, items)
    for kind, key in (("tags", _TAG), ("words", _WORDS)):
        field = by_kind.get(kind)  # type: ignore[call-overload]
        if field is not None and field.find(values) is None:
            keys = (field.column, key)
            if any(own in item for item in items for own in keys):  # `_tokens` has refused other items
                found[_column(field)] = [
                    next((item[own] for own in keys if own in item), None) for item in items
                ]
    text = by_kind.get("text")
    rebuilt = all(isinstance(token, list) and len(token) == 3 for token in found[column])
    if text is not None and text.find(values) is None and rebuilt:
        found[text.column] = _rebuilt(found[column])
    return found


def _column(field: Field) -> str:
    return field.name if field.name in field.other_columns else field.column


def _tokens(column: str, items: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    keys = (_START, _END) if any(isinstance(item, dict) and _START in item for item in items) else (_TEXT,)
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"{column}[{i}] is no object, but other tokens are")
        missing = next((key for key in keys if key not in item), None)
        if missing is not None:
            raise ValueError(f"{column}[{i}] has no {missing!r}; a token has start and end, or text")
        if len(keys) == 1:
            found.append(item[_TEXT])
        else:
            found.append([item[_START], item[_END], *([item[_TEXT]] if _TEXT in item else [])])
    return found


def _rebuilt(tokens: Sequence[Sequence[Any]]) -> str:
    """Return the text of tokens at their places; wrong places are found afterwards."""
    text = ""
    for token in tokens:
        if len(token) == 3 and isinstance(token[0], int) and isinstance(token[2], str):
            text = text.ljust(min(token[0], MOST_SPACES + len(text))) + token[2]
    return text


def located(column: str, items: Sequence[Any], text: object) -> list[Any]:
    """Return tokens as strings: those of the text where they are offsets.

    Args:
        column: its name.
        items: strings, or lists of start, end and perhaps the token.
        text: that has them; None: there is none.

    Raises:
        ValueError: offsets are not in the text, not in order, or of another token than is given.
    """
    if not any(isinstance(item, list) for item in items):
        return list(items)
    if not isinstance(text, str):
        raise ValueError(f"{column!r} has {_NO_TEXT}")
    found = []
    before = 0
    for i, item in enumerate(items):
        name = f"{column}[{i}]"
        if not _are_offsets(item):
            raise ValueError(f"{name} is {item!r}; expected its start and end, such as [0, 4]")
        start, end = item[0], item[1]
        shown = f"{name} is [{start}, {end}]"
        if not 0 <= start < end:
            raise ValueError(f"{shown}; expected a start from 0, and an end after it")
        if end > len(text):
            raise ValueError(f"{shown}; the text has {len(text):,} characters")
        if start < before:
            raise ValueError(f"{shown}; the token before ends at {before}")
        token = text[start:end]
        if not token.strip():
            raise ValueError(f"{shown}, where the text has only white space")
        if len(item) == 3 and item[2] != token:
            raise ValueError(f"{shown} and {item[2]!r}; the text has {token!r} there")
        before = end
        found.append(token)
    return found


def _are_offsets(item: object) -> bool:
    return (
        isinstance(item, list)
        and len(item) in (2, 3)
        and all(isinstance(value, int) and not isinstance(value, bool) for value in item[:2])
        and all(isinstance(value, str) for value in item[2:])
    )
