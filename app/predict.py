"""`textrnn predict`: one answer for each line of the input, in order, none lost."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from app.artifacts.files import open_output
from app.prediction.predictor import Predictor
from app.terminal.progress import bar
from data.errors import UserError
from data.formats import READERS, BadRow, Field, Row, format_of, read_rows

TABLES = ("csv", "tsv")
CHUNK = 4096
"""Lines that are read, sorted by length, answered, and written at once."""


def _rows(source: Path | None, format_name: str, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    if source is None:
        lines = io.TextIOWrapper(
            sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape", newline="\n"
        )
        return READERS[format_name](lines, fields)
    return read_rows(source, fields, READERS[format_name])


def answers(predictor: Predictor, rows: Iterable[Row | BadRow]) -> Iterator[dict[str, Any]]:
    """A JSON object for each row: the task's answer, or `error` and `line` for one that can't be read."""
    pending = iter(rows)
    while chunk := list(itertools.islice(pending, CHUNK)):
        good = [row for row in chunk if isinstance(row, Row)]
        lines = iter(predictor.task.answer(predictor, good) if good else [])
        for row in chunk:
            yield next(lines) if isinstance(row, Row) else {"error": row.reason, "line": row.line}


def predict(
    predictor: Predictor,
    source: Path | None,
    *,
    output: Path | None = None,
    format_name: str | None = None,
    text_column: str | None = None,
) -> int:
    """Answers every line of a file or of stdin.

    Args:
        predictor: the model.
        source: a file; None reads stdin.
        output: where the answers go, written beside and renamed when whole; None prints them.
        format_name: how the input is written: jsonl, csv, tsv or txt; None: by the file's name, else txt.
        text_column: of jsonl, csv and tsv; None: the run's own.

    Returns:
        the number of rows that could not be read.
    """
    if source is not None and not source.is_file():
        raise UserError(f"{source}: no such file")
    if format_name is None:
        guess = format_of(source) if source else ""
        format_name = guess if guess in READERS else "txt"
    fields = predictor.task.input_fields(text_column or predictor.text_column)
    if format_name in TABLES:  # a cell holds a text, no list; a header without one is refused at once
        fields = tuple(replace(field, optional=False) for field in fields if field.kind == "text")
    rows = _rows(source, format_name, fields)

    def write(stream: TextIO) -> int:
        failed = 0
        with bar("predicting", None) as advance:
            for answer in answers(predictor, rows):
                failed += "error" in answer
                stream.write(json.dumps(answer, ensure_ascii=False) + "\n")
                advance(1)
        stream.flush()
        return failed

    if output is None:
        return write(sys.stdout)
    with open_output(output) as file:
        stream = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        try:
            return write(stream)
        finally:
            stream.detach()
