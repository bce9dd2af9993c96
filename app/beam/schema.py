"""Columns of Parquet files with predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from app.tasks import get_task
from data.formats import Row

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

TEXTS = ("A text.", "A longer text, with some words more.")


def schema_of(predictor: Predictor, *, with_source: bool) -> pa.Schema:
    """Return the columns of the predictions of a model, from predictions of two texts.

    Args:
        predictor: the model.
        with_source: whether there are `file` and `line`.
    """
    predictions = get_task(predictor.info.task).predictions
    lines = predictions.predict(predictor, [Row(1, {"text": text}) for text in TEXTS])
    types = {
        name: pa.array([line[name] for line in (*lines, predictions.optional_output) if name in line]).type
        for name in lines[0]
    }
    source = {"file": pa.string(), "line": pa.int64()} if with_source else {}
    return pa.schema([(name, _named(type_)) for name, type_ in {**source, **types}.items()])


def _named(type_: pa.DataType) -> pa.DataType:
    """Return a type with strings in place of nulls: a label was rejected, or none was chosen."""
    if pa.types.is_null(type_):
        return pa.string()
    return pa.list_(_named(type_.value_type)) if pa.types.is_list(type_) else type_


def complete(line: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Return a row with all columns; what a prediction lacks is null."""
    return {name: line.get(name) for name in columns}
