"""The maximum and the mean, concatenated."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.layers.poolings.base import PoolingFunction
from models.layers.poolings.max import max_pool
from models.layers.poolings.mean import mean_pool


def _pool(_: Any, sequences: tf.Tensor, final: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    return tf.concat([max_pool(sequences, lengths), mean_pool(sequences, lengths)], axis=-1)


POOLING = PoolingFunction(_pool, output_size=lambda size: 2 * size)
