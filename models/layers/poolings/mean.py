"""The mean of each feature over the real steps."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from models.layers.poolings.base import PoolingFunction, real_steps, reduce_real


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def mean_pool(
    sequences: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Return the mean of the real values of each feature, summed in float32: [B, T, D] → [B, D]."""
    mean = reduce_real(tf.math.segment_mean, tf.cast(sequences, tf.float32), lengths)
    return tf.cast(mean, sequences.dtype), lambda upstream: (
        spread_mean(sequences, upstream, lengths),
        None,
    )


def spread_mean(sequences: tf.Tensor, upstream: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the gradient of each step from that of the mean: [B, D] → [B, T, D], 0 on padding."""
    share = upstream / tf.expand_dims(tf.cast(lengths, upstream.dtype), -1)
    return tf.expand_dims(share, 1) * tf.cast(real_steps(sequences, lengths), share.dtype)


POOLING = PoolingFunction(lambda layer, sequences, final, lengths: mean_pool(sequences, lengths))
