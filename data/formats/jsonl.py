"""JSON Lines: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from data.formats.fields import EMPTY_LINE, BadRow, Field, Row, encoding_problem, json_type, make_row
from data.formats.opening import as_text


def read_jsonl(stream: BinaryIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield a row for each line; keys that are not fields are ignored."""
    for number, line in enumerate(as_text(stream), 1):
        if problem := encoding_problem(line):
            yield BadRow(number, problem)
            continue
        if not line.strip():
            yield BadRow(number, EMPTY_LINE)
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"not JSON: {error}")
            continue
        if isinstance(values, dict):
            yield make_row(number, values, fields, from_json=True)
        else:
            yield BadRow(number, f'{json_type(values)}, not an object such as {{"text": …}}')
