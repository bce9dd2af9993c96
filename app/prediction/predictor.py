"""Strings in, answers out: from a run directory or an exported SavedModel alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.tasks.base import Answers, Task
from data.batching import in_order, sorted_batches
from data.encoding import Texts
from data.errors import UserError

BATCH_SIZE = 64


@dataclass(frozen=True)
class Predictor:
    """A model that answers texts."""

    task: Task
    manifest: dict[str, Any]
    signatures: Mapping[str, Callable[..., dict[str, tf.Tensor]]]
    """Each takes its inputs by name, a row for each text, and gives its outputs by name."""
    text_column: str
    model: keras.Model | None = None
    """Of a run."""
    beam: int | None = None
    """Width of a search, where it shall not be the run's own."""

    def __call__(self, texts: Texts, *, batch_size: int = BATCH_SIZE) -> Answers:
        """Answers of the task's main signature in the order of the texts.

        Args:
            texts: UTF-8; at least one.
            batch_size: texts in one call of the model.

        Returns:
            each output of the signature as an array with a row for each text.
        """
        lengths = np.array([len(text) for text in texts])
        return self.run(self.task.signature, {"text": texts}, lengths, batch_size=batch_size)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Sequence[Any] | np.ndarray],
        lengths: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        options: Mapping[str, tf.Tensor] | None = None,
    ) -> Answers:
        """Calls a signature on rows, sorted by length inside, and puts the answers in order.

        Args:
            signature: its name.
            inputs: rows by the name of the input; sequences are padded with empty strings.
            lengths: int [rows], what a row costs.
            batch_size: rows of a call.
            options: inputs that are the same for all rows.

        Returns:
            each output as an array with a row for each row; outputs of different widths are padded with
            zeros or empty strings.
        """
        call = self.signatures[signature]
        parts: dict[str, list[np.ndarray]] = {}
        batches = sorted_batches(lengths, batch_size=batch_size)
        for rows in batches:
            fed = {name: _tensor([values[i] for i in rows]) for name, values in inputs.items()}
            for name, value in call(**fed, **(options or {})).items():
                parts.setdefault(name, []).append(value.numpy())
        order = np.concatenate(batches)
        return {name: in_order(arrays, order) for name, arrays in parts.items()}


def _tensor(values: list[Any]) -> tf.Tensor:
    if isinstance(values[0], str | bytes | int | float | np.number):
        return tf.constant(values)
    return tf.ragged.constant(values, ragged_rank=1, dtype=tf.string).to_tensor(b"")


def with_beam(predictor: Predictor, beam: int | None) -> Predictor:
    """The same predictor with another width of its search; None leaves it.

    Raises:
        UserError: the model does not search.
    """
    if beam is None:
        return predictor
    if "search" not in predictor.signatures:
        raise UserError(f"--beam: a model for {predictor.task.name} does not search for its answers")
    return replace(predictor, beam=beam)
