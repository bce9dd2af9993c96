"""The layer that makes one vector of the outputs of all time steps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.poolings import get_pooling


@keras.saving.register_keras_serializable("textrnn")
class Pooling(keras.layers.Layer):
    """A pooling of `models.layers.poolings`. Padding never counts."""

    def __init__(self, kind: str, **options: Any) -> None:
        """Create the layer.

        Args:
            kind: a name in `POOLINGS`.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.kind = kind
        get_pooling(kind).create(self)

    def build(self, sequences_shape: tuple[int | None, ...], **_: Any) -> None:
        """Create the weights for outputs of a shape (B, T, D)."""
        get_pooling(self.kind).build(self, sequences_shape)

    def output_size(self, size: int) -> int:
        """Return the size of the vector for outputs of a size."""
        return get_pooling(self.kind).output_size(size)

    def call(self, sequences: tf.Tensor, final: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Pool outputs.

        Args:
            sequences: float [B, T, D], right-padded.
            final: float [B, D], the final outputs.
            lengths: int32 [B], each from 1 to T.

        Returns:
            float [B, `output_size(D)`].
        """
        return get_pooling(self.kind).pool(self, sequences, final, lengths)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "kind": self.kind}
