"""What is in memory of a whole split when its metrics are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from app.tasks.base import Arrays, evaluated
from data.batching import Batch, ExampleBatches


def test_only_what_the_metrics_read_is_kept() -> None:
    """Of each batch the metrics get the arrays that they name, if it has them, and what the step computes."""

    def make(indices: np.ndarray) -> Batch:
        ids = np.repeat(indices[:, None], 3, axis=1).astype(np.int32)
        return Batch({"ids": ids, "targets": indices.astype(np.int32)}, len(indices), ids.size)

    def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(batch["ids"], axis=1)}

    def metrics(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
        assert [set(own) for own in arrays] == [{"targets"}] * 3
        targets, sums = (
            np.concatenate([batch[name] for batch in own])
            for own, name in ((arrays, "targets"), (outputs, "sum"))
        )
        return {"right": float((sums == 3 * targets).mean()), "rows": float(len(targets))}

    batches = ExampleBatches(np.ones(10, np.int32), make, batch_size=2)

    assert evaluated(step, batches, metrics, reads=["targets", "labels"])() == {"right": 1.0, "rows": 10.0}
