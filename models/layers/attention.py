"""Attention of a decoder over the steps of a source (Bahdanau et al. 2015; Luong et al. 2015)."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("textrnn")
class Attention(keras.layers.Layer):
    """Attention of the steps of a decoder over the steps of a source.

    `additive`: vᵀ tanh(W q + U m) (Bahdanau et al. 2015, appendix A.1.2); `multiplicative`: qᵀ U m (Luong
    et al. 2015, equation 8, "general"). The query q is the decoder's state after its step, as in Luong et
    al., with either score.
    """

    def __init__(self, kind: Literal["additive", "multiplicative"], units: int, **options: Any) -> None:
        """Create the layer.

        Args:
            kind: `additive` or `multiplicative`.
            units: width of the queries, and of the keys.
            options: of `keras.layers.Layer`.
        """
        if kind not in ("additive", "multiplicative"):
            raise ValueError(f"attention is one of additive, multiplicative, none; got {kind!r}")
        super().__init__(**options)
        self.kind = kind
        self.units = units
        self.of_memory = keras.layers.Dense(units, use_bias=False, name="of_memory")
        if kind == "additive":
            self.of_query = keras.layers.Dense(units, name="of_query")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for a memory of a shape (B, S, D)."""
        self.of_memory.build(tuple(input_shape))
        if self.kind == "additive":
            self.of_query.build((None, None, self.units))
            self.score = self.add_weight(shape=(self.units,), initializer="glorot_uniform", name="score")
        self.built = True

    def keys(self, memory: tf.Tensor) -> tf.Tensor:
        """Return the keys, computed once for a source: [B, S, D] → [B, S, U]."""
        return self.of_memory(memory)

    def call(
        self, queries: tf.Tensor, keys: tf.Tensor, memory: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attend to the memory.

        Args:
            queries: float [B, T, U].
            keys: float [B, S, U], of `keys`.
            memory: float [B, S, D], right-padded.
            lengths: int32 [B], the real steps of the memory, each from 1 to S.

        Returns:
            contexts [B, T, D], weighted means of the memory; the weights [B, T, S], which sum to 1 over
            the real steps and are 0 on padding.
        """
        if self.kind == "additive":
            compared = tf.tanh(self.of_query(queries)[:, :, tf.newaxis] + keys[:, tf.newaxis])
            scores = tf.reduce_sum(compared * self.score, axis=3)
        else:
            scores = tf.matmul(queries, keys, transpose_b=True)
        real = tf.sequence_mask(lengths, tf.shape(keys)[1])[:, tf.newaxis]
        weights = tf.nn.softmax(tf.where(real, scores, scores.dtype.min))
        return tf.matmul(weights, memory), weights

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "kind": self.kind, "units": self.units}
