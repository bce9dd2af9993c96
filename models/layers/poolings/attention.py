"""The word attention of Yang et al. 2016 (equations 5 to 7).

The weight of a step is the softmax over the real steps of `context · tanh(W h + b)`.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.poolings.base import PoolingFunction, real_steps


def _create(layer: Any) -> None:
    layer.score = keras.layers.Dense(1, use_bias=False, name="context")


def _build(layer: Any, sequences_shape: tuple[int | None, ...]) -> None:
    layer.project = keras.layers.Dense(sequences_shape[-1], activation="tanh", name="projection")
    layer.project.build(sequences_shape)
    layer.score.build(sequences_shape)


def _pool(layer: Any, sequences: tf.Tensor, final: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    real = real_steps(sequences, lengths)
    scores = layer.score(layer.project(sequences))
    scores = tf.where(real, scores, scores.dtype.min)
    sequences = tf.where(real, sequences, 0)  # 0 · inf is not a number
    return tf.reduce_sum(tf.nn.softmax(scores, axis=1) * sequences, axis=1)


POOLING = PoolingFunction(_pool, create=_create, build=_build)
