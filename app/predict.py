"""`textrnn predict`: one answer for each line of the input, in order, none lost."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from app.artifacts.files import replaced
from app.prediction.predictor import Predictor
from app.terminal.progress import bar
from data.errors import UserError
from data.formats import BadRow, Field, Format, Row, Shape, find_format, formats_of, read_rows

SHAPES: tuple[Shape, ...] = ("records", "lines")
CHUNK = 4096
"""Lines that are read, sorted by length, answered, and written at once."""


def _rows(source: Path | None, format: Format, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    if source is None:
        return format.read(sys.stdin.buffer, fields)
    return read_rows(source, fields, format.read)


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
    known = formats_of(SHAPES)
    format = known.get(format_name or "") or (source and find_format(source, SHAPES)) or known["txt"]
    fields = predictor.task.input_fields(text_column or predictor.text_column)
    if "tokens" not in format.kinds and format.shape == "records":  # a header without a text is refused
        fields = tuple(replace(field, optional=False) for field in fields if field.kind == "text")
    rows = _rows(source, format, fields)

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
    try:
        with replaced(output) as beside, beside.open("w", encoding="utf-8") as stream:
            return write(stream)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from None
