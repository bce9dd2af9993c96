"""The maximum and the mean, concatenated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from models.layers.poolings.base import PoolingFunction
from models.layers.poolings.max import largest_steps, largest_values
from models.layers.poolings.mean import mean_pool, spread_mean


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def max_mean_pool(
    sequences: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Return maximum and mean: [B, T, D] → [B, 2 D].

    The gradient is that of `max_pool` and of `mean_pool`, computed together.
    """
    mean = mean_pool(sequences, lengths)
    largest = largest_values(sequences, lengths, mean)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        of_largest, of_mean = tf.split(upstream, 2, axis=-1)
        is_largest, counts = largest_steps(sequences, largest, lengths)
        of_mean = spread_mean(sequences, of_mean, lengths)
        both = tf.expand_dims(of_largest / counts, 1) + of_mean[:, :1]  # every row has a first step
        return tf.where(is_largest, both, of_mean), None

    return tf.concat([largest, mean], axis=-1), gradient


def _pool(_: Any, sequences: tf.Tensor, final: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    return max_mean_pool(sequences, lengths)


POOLING = PoolingFunction(_pool, output_size=lambda size: 2 * size)
