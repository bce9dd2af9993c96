"""A predictor that computes the outputs of a row once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import tensorflow as tf

from app.prediction.predictor import OutputArrays, Predictor
from data.batching import in_order

Key = tuple[Any, ...]


@dataclass(frozen=True)
class RememberingPredictor(Predictor):
    """A predictor for several passes over the same examples, such as an evaluation and lists of mistakes.

    Rows of strings and of sequences of strings are remembered; other inputs, and inputs that rows share, are
    computed each time.
    """

    most: int = 0
    """Number of rows that are remembered, over all signatures."""
    rows: dict[Key, dict[str, np.ndarray]] = field(default_factory=dict)
    """Outputs by the signature and the inputs of a row."""

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Sequence[Any] | np.ndarray],
        *,
        shared: Mapping[str, tf.Tensor] | None = None,
    ) -> OutputArrays:
        """Return what `Predictor.run` returns; only rows that are not known are computed."""
        keys = [] if shared else _keys(signature, inputs)
        if not keys:
            return super().run(signature, inputs, shared=shared)
        found = {key: self.rows[key] for key in keys if key in self.rows}
        places = {key: i for i, key in enumerate(keys) if key not in found}
        if places:
            missing = {name: [values[i] for i in places.values()] for name, values in inputs.items()}
            outputs = super().run(signature, missing)
            for i, key in enumerate(places):
                found[key] = {name: values[i : i + 1] for name, values in outputs.items()}
                if len(self.rows) < self.most:
                    self.rows[key] = {name: values.copy() for name, values in found[key].items()}
        order = np.arange(len(keys))
        return {name: in_order([found[key][name] for key in keys], order) for name in found[keys[0]]}


def remembering(predictor: Predictor, most: int) -> RememberingPredictor:
    """Return the same predictor with a memory of at most `most` rows."""
    own = {each.name: getattr(predictor, each.name) for each in fields(Predictor)}
    return RememberingPredictor(**own, most=most)


def _keys(signature: str, inputs: Mapping[str, Sequence[Any] | np.ndarray]) -> list[Key]:
    """Return what identifies each row; an empty list if a row has other inputs than strings."""
    columns = [[_plain(value) for value in values] for values in inputs.values()]
    if any(value is None for column in columns for value in column):
        return []
    return [(signature, *inputs, *row) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> bytes | tuple[bytes, ...] | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        found = tuple(value)
        return found if all(isinstance(own, bytes) for own in found) else None
    return None
