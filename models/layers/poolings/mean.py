"""The mean of each feature over the real steps."""

from __future__ import annotations

import tensorflow as tf

from models.layers.poolings.base import PoolingFunction, real_steps


def mean_pool(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the mean of the real values of each feature: [B, T, D] → [B, D]."""
    total = tf.reduce_sum(tf.where(real_steps(sequences, lengths), sequences, 0), axis=1)
    return total / tf.expand_dims(tf.cast(lengths, sequences.dtype), -1)


POOLING = PoolingFunction(lambda layer, sequences, final, lengths: mean_pool(sequences, lengths))
