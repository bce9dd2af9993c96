"""From a sequence of hidden states to one vector a row: padding never counts."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

PoolingKind = Literal["last", "max", "mean", "max_mean", "attention"]


def real_steps(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """True where a step is real: [B, T, D], lengths [B] → bool [B, T, 1]."""
    return tf.expand_dims(tf.sequence_mask(lengths, tf.shape(sequences)[1]), -1)


def max_pool(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """The largest real value of each feature: [B, T, D] → [B, D]."""
    masked = tf.where(real_steps(sequences, lengths), sequences, sequences.dtype.min)
    return tf.reduce_max(masked, axis=1)


def mean_pool(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """The mean of the real values of each feature: [B, T, D] → [B, D]."""
    total = tf.reduce_sum(tf.where(real_steps(sequences, lengths), sequences, 0), axis=1)
    return total / tf.expand_dims(tf.cast(lengths, sequences.dtype), -1)


@keras.saving.register_keras_serializable("textrnn")
class Pooling(keras.layers.Layer):
    """One vector a row: the final state, the maximum, the mean, both, or a learned weighting.

    `attention` is the word attention of Yang et al. 2016 (equations 5 to 7): a step's weight is the
    softmax over the real steps of `context · tanh(W h + b)`.
    """

    def __init__(self, kind: PoolingKind, **options: Any) -> None:
        """Makes the layer; `kind` is one of last, max, mean, max_mean, attention."""
        super().__init__(**options)
        self.kind = kind
        if kind == "attention":
            self.score = keras.layers.Dense(1, use_bias=False, name="context")

    def build(self, sequences_shape: tuple[int | None, ...], **_: Any) -> None:
        """Creates the weights of `attention`: (B, T, D)."""
        if self.kind == "attention":
            width = sequences_shape[-1]
            self.project = keras.layers.Dense(width, activation="tanh", name="projection")
            self.project.build(sequences_shape)
            self.score.build(sequences_shape)

    def call(self, sequences: tf.Tensor, final: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Pools: [B, T, D], the final state [B, D], lengths int32 [B] → [B, D] (`max_mean`: [B, 2D])."""
        if self.kind == "last":
            return final
        if self.kind == "max":
            return max_pool(sequences, lengths)
        if self.kind == "mean":
            return mean_pool(sequences, lengths)
        if self.kind == "max_mean":
            return tf.concat([max_pool(sequences, lengths), mean_pool(sequences, lengths)], axis=-1)
        real = real_steps(sequences, lengths)
        scores = self.score(self.project(sequences))
        scores = tf.where(real, scores, scores.dtype.min)
        sequences = tf.where(real, sequences, 0)  # 0 · inf is not a number
        return tf.reduce_sum(tf.nn.softmax(scores, axis=1) * sequences, axis=1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "kind": self.kind}
