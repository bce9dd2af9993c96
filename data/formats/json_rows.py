"""JSON: an object in each line, an array of objects, an object with such an array, or an object of lists."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from data.errors import UserError
from data.formats.base import Format
from data.formats.fields import (
    BadRow,
    Field,
    MissingColumn,
    Row,
    encoding_problem,
    find_columns,
    json_type,
    make_row,
    missing_column,
)
from data.formats.head import Head
from data.formats.json_stream import JsonStream
from data.formats.layout import Layout, Options
from data.formats.token_objects import flattened
from data.names import clean_name

LINES, OBJECTS, ARRAY, COLUMNS, KEY = "lines", "objects", "array", "columns", "key:"
_TITLES = {
    LINES: "JSON Lines",
    OBJECTS: "JSON objects",
    ARRAY: "JSON array",
    COLUMNS: "JSON object of lists",
}
MARK = "\ufeff"
"""A byte order mark, which is also inside a file that was joined from several."""
COLUMNS_CHARACTERS = 1 << 28
"""Maximum size of an object of lists, which is read as a whole."""
_SNIFFED_ROWS = 100
_VALUE_START = 64
_OFFSETS = re.compile(r"\[\s*\[\s*[0-9]")
_EXAMPLE = 'not an object such as {"text": …}'


def read_json(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each object; keys that are not fields are ignored."""
    if layout.variant == LINES:
        values = _of_lines(lines, layout.encoding)
    elif layout.variant == COLUMNS:
        values = _of_columns(lines, fields)
    else:
        values = _of_stream(lines, layout.variant)
    for number, value in values:
        if isinstance(value, BadRow):
            yield value
        elif isinstance(value, dict):
            # In an array it is not known whether a surrogate was written as an escape.
            from_json = layout.variant == LINES
            try:
                value = flattened(value, fields)
            except ValueError as error:
                yield BadRow(number, str(error))
                continue
            yield make_row(number, value, fields, from_json=from_json, encoding=layout.encoding)
        else:
            yield BadRow(number, f"{json_type(value)}, {_EXAMPLE}")


def _of_lines(lines: TextIO, encoding: str) -> Iterator[tuple[int, Any]]:
    """Yield the value of each line with its number; blank lines are skipped."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if problem := encoding_problem(line, encoding=encoding):
            yield number, BadRow(number, problem)
            continue
        try:
            yield number, json.loads(line.removeprefix(MARK))
        except (ValueError, RecursionError) as error:
            yield number, BadRow(number, f"not JSON: {error}")


def _of_stream(lines: TextIO, variant: str) -> Iterator[tuple[int, Any]]:
    """Yield each value with the number of its line: of an array, of the array of a key, or all."""
    stream = JsonStream(lines)
    if variant == OBJECTS:
        while stream.peek():
            yield stream.line(), stream.value()
        return
    if variant == ARRAY:
        yield from _elements(stream)
    else:
        wanted = variant.removeprefix(KEY)
        stream.take("{", "at the beginning")
        while True:
            key = stream.value()
            stream.take(":", f"after {key!r}")
            if key == wanted:
                yield from _elements(stream)
            else:
                stream.value()
            if stream.take(",}", f"after the value of {key!r}") == "}":
                break
    if stream.peek():
        stream.fail(f"more after the {'array' if variant == ARRAY else 'object'}")


def _elements(stream: JsonStream) -> Iterator[tuple[int, Any]]:
    stream.take("[", "in place of an array")
    if stream.peek() == "]":
        stream.take("]", "")
        return
    while True:
        yield stream.line(), stream.value()
        if stream.take(",]", "after an element of the array") == "]":
            return


def _of_columns(lines: TextIO, fields: Sequence[Field]) -> Iterator[tuple[int, Any]]:
    """Yield the rows of an object of equally long lists, with their numbers."""
    text = lines.read(COLUMNS_CHARACTERS + 1)
    if len(text) > COLUMNS_CHARACTERS:
        raise UserError(
            "an object of lists that is too large; save it as JSON Lines, e.g. with pandas: "
            "to_json(PATH, orient='records', lines=True)"
        )
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {error}") from None
    del text
    names = list(values)
    cleaned = [clean_name(name) for name in names]
    _check_columns(fields, cleaned)
    places = dict.fromkeys(place for field in fields for place in find_columns(field, cleaned) or ())
    lists = {cleaned[place]: _as_list(values[names[place]], names[place]) for place in places}
    lengths = {name: len(items) for name, items in lists.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{length:,} of {name!r}" for name, length in lengths.items())
        raise UserError(f"lists of unequal length: {shown}; expected a value of each in every row")
    for number, row in enumerate(zip(*lists.values(), strict=True), 1):
        yield number, dict(zip(lists, row, strict=True))


def _check_columns(fields: Sequence[Field], keys: Sequence[str]) -> None:
    for field in fields:
        if not field.optional and find_columns(field, keys) is None:
            raise MissingColumn(missing_column(field, keys), field)


def _as_list(value: object, name: str) -> list[Any]:
    """Return the values of a column; pandas writes them as an object whose keys are the numbers of rows."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return value
    raise UserError(f"{name!r} is {json_type(value)}; expected a list, as of the other columns")


def recognize_json(head: Head, fields: Sequence[Field], options: Options) -> bool:
    """Return whether the file begins with an object, or with an array of objects."""
    text = head.text.lstrip()
    if text.startswith("["):
        return text[1:].lstrip().startswith("{")
    first = next((line for line in head.lines() if line.strip()), "").strip()
    if first.endswith("}"):
        return isinstance(_decode(first), dict)
    return text.startswith("{") and text[1:].lstrip().startswith('"')


def sniff_json(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Decide whether the file has lines, an array or columns, and look for the columns of the fields."""
    variant = _variant(head, fields)
    rows = [_flattened(row, fields) for row in _first_rows(head, variant)]
    keys = list(dict.fromkeys(clean_name(key) for row in rows for key in row))
    if rows:
        _check_columns(fields, keys)
    title = _TITLES.get(variant) or f"JSON object with an array {variant.removeprefix(KEY)!r}"
    chosen = {}
    for field in fields:
        if (places := find_columns(field, keys)) is not None:
            chosen[field.name] = ",".join(keys[place] for place in places)
    several = any(
        isinstance(row.get(column), list)
        for field in fields
        if field.kind in ("label", "labels") and (column := chosen.get(field.name)) is not None
        for row in rows
    )
    return Layout(
        "json", title=title, variant=variant, columns=tuple(keys), chosen=chosen, several_labels=several
    )


def _flattened(row: Mapping[str, Any], fields: Sequence[Field]) -> Mapping[str, Any]:
    try:
        return flattened(row, fields)
    except ValueError:  # which reading reports
        return row


def _variant(head: Head, fields: Sequence[Field]) -> str:
    text = head.text.lstrip()
    if text.startswith("["):
        inner = text[1:].lstrip()
        if not inner or inner[0] in "{]":
            return ARRAY
        if isinstance(_decode(text), list) and head.whole:
            raise UserError(
                f"a JSON array; its first element is {json_type(_first_element(text))}, {_EXAMPLE}"
            )
        return LINES
    value, end = _first_value(text)
    if value is None:
        return _variant_of_unfinished(text, fields)
    if head.whole and not text[end:].strip() and isinstance(value, dict):
        found = _variant_of_object(value, fields)
        if found:
            return found
    return OBJECTS if re.search("[\r\n]", text[:end]) else LINES


def _variant_of_object(value: Mapping[str, Any], fields: Sequence[Field]) -> str | None:
    """Return the variant of a file that is one object; None: the object is a row."""
    items = list(value.values())
    keys = [clean_name(key) for key in value]
    found = [(field, place) for field in fields for place in find_columns(field, keys) or ()]
    if found and all(_is_column(items[place], field) for field, place in found):
        return COLUMNS
    arrays = [key for key, own in value.items() if _is_list(own, dict)]
    return KEY + arrays[0] if len(arrays) == 1 and not found else None


def _is_list(items: object, kind: type) -> bool:
    return isinstance(items, list) and bool(items) and isinstance(items[0], kind)


def _is_column(items: object, field: Field) -> bool:
    """Return whether a value has the values of all rows for a field, and not that of one row."""
    if field.kind in ("tokens", "tags"):
        return _is_list(items, list) or isinstance(items, dict)
    return isinstance(items, list | dict) and bool(items)


def _variant_of_unfinished(text: str, fields: Sequence[Field]) -> str:
    """Return the variant of an object that does not end in what was read, by the value that does not end."""
    stream = JsonStream(io.StringIO(text))
    key = start = ""
    try:
        stream.take("{", "")
        while True:
            key = str(stream.value())
            stream.take(":", "")
            start = stream.rest(_VALUE_START)
            stream.value()
            stream.take(",", "")
    except UserError:
        pass
    inner = start[1:].lstrip()
    kinds = {field.kind for field in fields if find_columns(field, [clean_name(key)]) is not None}
    if start.startswith("[") and inner.startswith("{") and "tokens" not in kinds:
        return KEY + key
    if "tokens" in kinds and _OFFSETS.match(start):
        return LINES
    if start[:1] in ("[", "{") and ("text" in kinds or (inner[:1] == "[" and kinds & {"tokens", "tags"})):
        return COLUMNS
    return LINES


def _first_value(text: str) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0


def _first_element(text: str) -> object:
    elements = _decode(text)
    return elements[0] if elements else None


def _decode(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _first_rows(head: Head, variant: str) -> list[dict[str, Any]]:
    """Return the first objects, as far as they are well-formed."""
    values: list[Any] = []
    if variant == COLUMNS:
        value, _ = _first_value(head.text.lstrip())
        return [] if value is None else [{key: _first_item(items) for key, items in value.items()}]
    if variant == LINES:
        values = [_decode(line) for line in head.lines() if line.strip()][:_SNIFFED_ROWS]
    else:
        with contextlib.suppress(UserError):  # the last one is incomplete
            for _, value in itertools.islice(_of_stream(io.StringIO(head.text), variant), _SNIFFED_ROWS):
                values.append(value)
    return [value for value in values if isinstance(value, dict)]


def _first_item(items: object) -> object:
    if isinstance(items, dict):
        items = list(items.values())
    return items[0] if isinstance(items, list) and items else items


FORMAT = Format(
    "json",
    read_json,
    ("jsonl", "json", "ndjson"),
    "records",
    title="JSON",
    recognize=recognize_json,
    sniff=sniff_json,
)
