"""The maximum of each feature over the real steps."""

from __future__ import annotations

import tensorflow as tf

from models.layers.poolings.base import PoolingFunction, real_steps


def max_pool(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the largest real value of each feature: [B, T, D] → [B, D]."""
    masked = tf.where(real_steps(sequences, lengths), sequences, sequences.dtype.min)
    return tf.reduce_max(masked, axis=1)


POOLING = PoolingFunction(lambda layer, sequences, final, lengths: max_pool(sequences, lengths))
