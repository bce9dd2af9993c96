"""The maximum of each feature over the real steps."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from models.layers.poolings.base import PoolingFunction, real_steps, reduce_real


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def max_pool(
    sequences: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Return the largest real value of each feature: [B, T, D] → [B, D].

    Equal largest values have equal shares of the gradient, as in `tf.reduce_max`.
    """
    largest = largest_values(sequences, lengths, reduce_real(tf.math.segment_sum, sequences, lengths))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        is_largest, counts = largest_steps(sequences, largest, lengths)
        share = tf.expand_dims(upstream / counts, 1)
        return tf.where(is_largest, share, tf.zeros([], share.dtype)), None

    return largest, gradient


def largest_values(sequences: tf.Tensor, lengths: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Return the largest real value of each feature: [B, T, D] → [B, D].

    Args:
        sequences: right-padded.
        lengths: int32 [B].
        total: sum or mean of the real values, [B, D]. `tf.math.segment_max` passes over values that are not
            numbers, and the sum does not.
    """
    largest = reduce_real(tf.math.segment_max, sequences, lengths)
    return tf.where(tf.math.is_nan(total), total, largest)


def largest_steps(
    sequences: tf.Tensor, largest: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the largest values are, and how many are equal: bool [B, T, D], float [B, D].

    The values are counted from their places, which are few.
    """
    found = tf.equal(sequences, tf.expand_dims(largest, 1)) & real_steps(sequences, lengths)
    rows, features = tf.unstack(tf.shape(largest, tf.int64))
    places = tf.where(found)
    vectors = places[:, 0] * features + places[:, 2]
    counts = tf.math.unsorted_segment_sum(tf.ones_like(vectors, tf.float32), vectors, rows * features)
    return found, tf.cast(tf.reshape(counts, tf.shape(largest)), largest.dtype)


POOLING = PoolingFunction(lambda layer, sequences, final, lengths: max_pool(sequences, lengths))
