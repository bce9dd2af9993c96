"""`textrnn predict`: one prediction for each example of the input, in order, none lost."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from app.artifacts.files import open_output
from app.config import for_other_data
from app.prediction.inputs import Input, Reading, named_format, open_input
from app.prediction.predictor import LARGEST_CHUNK, Predictor
from app.tasks import get_task
from app.terminal.printable import json_line
from app.terminal.progress import bar
from data.batching import bounded, row_costs
from data.formats import BadRow, Row

CHUNK = 4096
"""Most examples that are read, sorted by length and predicted at once."""


def predictions(
    predictor: Predictor, rows: Iterable[Row | BadRow], reject_below: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield a JSON object for each row: the prediction, or `error` and `line` if it cannot be read.

    Args:
        predictor: the model.
        rows: of the input.
        reject_below: labels with a lower score are None, as those below the threshold of the model are.

    Raises:
        UserError: the model predicts no labels with a score, of which any could be rejected.
    """
    task = get_task(predictor.info.task)
    if reject_below:
        task.predictions.require_scores(predictor)
    for chunk in bounded(rows, cost, most=CHUNK, largest=LARGEST_CHUNK):
        good = [row for row in chunk if isinstance(row, Row)]
        lines = iter(task.predictions.predict(predictor, good) if good else [])
        for row in chunk:
            line: dict[str, Any] = (
                next(lines) if isinstance(row, Row) else {"error": row.reason, "line": row.line}
            )
            if reject_below and line.get("score", 1.0) < reject_below:
                line["label"] = None
            yield line


def cost(row: Row | BadRow) -> int:
    """Return what an example costs, see `row_costs`; nothing if it cannot be read."""
    return int(row_costs({"row": [list(row.values.values())]})[0]) if isinstance(row, Row) else 0


def _with_files(predictor: Predictor, given: Input, reject_below: float) -> Iterator[dict[str, Any]]:
    """Yield the predictions of an input, each with its `file` if the input is a folder."""
    files: deque[str] = deque()

    def rows() -> Iterator[Row | BadRow]:
        for file, row in given.rows:
            files.append(file)
            yield row

    for line in predictions(predictor, rows(), reject_below):
        file = files.popleft()
        yield {"file": file, **line} if given.is_folder else line


def reading(
    predictor: Predictor,
    *,
    format_name: str | None = None,
    text_column: str | None = None,
    overrides: Sequence[str] = (),
) -> Reading:
    """Return how a model reads its input.

    Raises:
        UserError: an override is not one of columns and layout.
    """
    task = get_task(predictor.info.task)
    config = for_other_data(predictor.info.config, overrides)
    shapes = task.examples.shapes
    return Reading(
        task.name,
        task.predictions.input_fields(config, text_column),
        task.examples.fields(config),
        shapes,
        source=next(iter(task.examples.parallel(config)), ""),
        options=config.options(),
        format=named_format(format_name, shapes) if format_name else None,
    )


def predict(
    predictor: Predictor,
    source: Path | None,
    *,
    output: Path | None = None,
    format_name: str | None = None,
    text_column: str | None = None,
    overrides: Sequence[str] = (),
    reject_below: float = 0.0,
    note: Callable[[str], object] = lambda sentence: None,
) -> int:
    """Predict every example of a file, of a folder or of stdin.

    Args:
        predictor: the model.
        source: a file or a folder; None reads stdin.
        output: where the predictions are written, whole or not at all; None prints them.
        format_name: format of the input, by the suffix of its files; `txt` is a text per line; None: by the
            name and the content of a file, and txt for stdin.
        text_column: column of the text; None: as in training.
        overrides: `KEY=VALUE` of columns and layout, if not as in training.
        reject_below: as of `predictions`.
        note: called with a sentence about what is read otherwise than one may expect, or not at all.

    Returns:
        the number of examples that could not be read.

    Raises:
        UserError: the input or the output cannot be opened, the model does not read its format, or the input
            lacks the column.
    """
    given = open_input(
        source,
        reading(predictor, format_name=format_name, text_column=text_column, overrides=overrides),
    )
    for sentence in given.notes:
        note(sentence)

    def write(stream: TextIO) -> int:
        failed = 0
        with bar("predicting", None) as advance:
            for line in _with_files(predictor, given, reject_below):
                failed += "error" in line
                stream.write(f"{json_line(line)}\n")
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
