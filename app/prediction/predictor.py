"""Predictions through the signatures of a SavedModel, the same for a run and an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from app.artifacts.preprocessing import Facts, Preprocessing
from app.config import TaskConfig
from data.batching import in_order, made_ahead, row_costs, sorted_batches
from data.encoding import Texts

BATCH_SIZE = 64
LARGEST_BATCH = 2**18
"""Most rows × cost of the longest row × beam width of a call of several rows, see `row_costs`."""
LARGEST_CHUNK = 2**25
"""Most rows × cost of the longest row of what is predicted at once: outputs are padded to that row."""

OutputArrays = dict[str, np.ndarray]
"""Outputs of a signature by name; each has one row for each row of the inputs."""


@dataclass(frozen=True)
class ModelInfo:
    """What the manifest of a run or an export says about a model."""

    where: str
    """Path of the run or the export, for messages."""
    task: str
    dataset: str
    dataset_hash: str
    data: str | None
    """The DATA of its training, if known."""
    config: TaskConfig
    preprocessing: Preprocessing[Facts]
    """Complete for a run; of an export only the facts, labels and tags."""


@dataclass(frozen=True)
class Predictor:
    """A loaded model."""

    info: ModelInfo
    signatures: Mapping[str, Callable[..., dict[str, tf.Tensor]]]
    """By name. Each takes its inputs by name and returns its outputs by name."""
    beam: int | None = None
    """Beam width that overrides the configured one; None keeps it."""
    batch_size: int = BATCH_SIZE

    def run_texts(self, signature: str, texts: Texts) -> OutputArrays:
        """Call a signature whose only input is `text`.

        Args:
            signature: its name.
            texts: UTF-8; at least one.

        Returns:
            each output with a row for each text, in the order of the texts.
        """
        return self.run(signature, {"text": texts})

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Sequence[Any] | np.ndarray],
        *,
        shared: Mapping[str, tf.Tensor] | None = None,
    ) -> OutputArrays:
        """Call a signature on rows in batches of similar cost, and return the outputs in order.

        Args:
            signature: its name.
            inputs: rows by the name of the input; sequences are padded with empty strings.
            shared: inputs that are the same for all rows; `width` is a beam width.

        Returns:
            each output with a row for each input row; outputs of different widths are padded with zeros or
            empty strings.
        """
        call = self.signatures[signature]
        parts: dict[str, list[np.ndarray]] = {}
        costs = row_costs(inputs) * max(int((shared or {}).get("width", 1)), 1)
        batches = sorted_batches(costs, batch_size=self.batch_size, largest=LARGEST_BATCH)

        def outputs_of(rows: np.ndarray) -> OutputArrays:
            batch = {name: _tensor([values[i] for i in rows]) for name, values in inputs.items()}
            return {name: value.numpy() for name, value in call(**batch, **(shared or {})).items()}

        # A batch is tokenized by one core: meanwhile others compute another batch.
        is_single = len(batches) == 1
        found = map(outputs_of, batches) if is_single else made_ahead(outputs_of, batches, ahead=1, threads=2)
        for outputs in found:
            for name, array in outputs.items():
                parts.setdefault(name, []).append(array)
        order = np.concatenate(batches)
        return {name: in_order(arrays, order) for name, arrays in parts.items()}


def _tensor(values: list[Any]) -> tf.Tensor:
    if isinstance(values[0], str | bytes | int | float | np.generic):
        return tf.constant(values)
    if isinstance(values[0], np.ndarray) and values[0].dtype != object:
        return tf.stack(values)
    return tf.ragged.constant(values, ragged_rank=1, dtype=tf.string).to_tensor(b"")
