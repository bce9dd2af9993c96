"""`textrnn predict`: one prediction for each line of the input, in order, none lost."""

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
from app.tasks import get_task
from app.terminal.progress import bar
from data.errors import UserError
from data.formats import BadRow, Field, Format, Row, Shape, find_format, formats_of, read_rows, sniff_stream

SHAPES: tuple[Shape, ...] = ("records", "lines")
CHUNK = 4096
"""Number of records that are read, sorted by length and predicted at once."""


def _rows(source: Path | None, format: Format, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    if source is None:
        file = sniff_stream(sys.stdin.buffer, "stdin", fields, SHAPES, format=format)
        assert file is not None
        return file.rows()
    return read_rows(source, fields, format)


def predictions(predictor: Predictor, rows: Iterable[Row | BadRow]) -> Iterator[dict[str, Any]]:
    """Yield a JSON object for each record: the prediction, or `error` and `line` if it cannot be read."""
    task = get_task(predictor.info.task)
    pending = iter(rows)
    while chunk := list(itertools.islice(pending, CHUNK)):
        good = [row for row in chunk if isinstance(row, Row)]
        lines = iter(task.predictions.predict(predictor, good) if good else [])
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
    """Predict every record of a file or of stdin.

    Args:
        predictor: the model.
        source: a file; None reads stdin.
        output: where the predictions are written, whole or not at all; None prints them.
        format_name: format of the input: jsonl, csv, tsv or txt; None: by the name of the file, else txt.
        text_column: column of the text in jsonl, csv and tsv; None: as in training.

    Returns:
        the number of records that could not be read.

    Raises:
        UserError: the input or the output cannot be opened, or the input lacks the column.
    """
    if source is not None and not source.is_file():
        raise UserError(f"{source}: no such file")
    known = formats_of(SHAPES)
    format = known.get(format_name or "") or (source and find_format(source, SHAPES)) or known["txt"]
    task = get_task(predictor.info.task)
    fields = task.predictions.input_fields(predictor.info.config, text_column)
    if (
        format.shape == "records" and "tokens" not in format.kinds
    ):  # a cell holds a text, not a list; a missing column is an error at once
        fields = tuple(replace(field, optional=False) for field in fields if field.kind == "text")
    rows = _rows(source, format, fields)

    def write(stream: TextIO) -> int:
        failed = 0
        with bar("predicting", None) as advance:
            for line in predictions(predictor, rows):
                failed += "error" in line
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
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
