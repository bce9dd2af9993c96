"""Word dropout: in training, some tokens are read as unknown."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.text import UNKNOWN_ID


@keras.saving.register_keras_serializable("textrnn")
class WordDropout(keras.layers.Layer):
    """Replaces token ids by the unknown token's with a given chance, in training only.

    It keeps a model from learning rows by heart, and teaches it what an unknown word means
    (Iyyer et al. 2015, section 3).
    """

    def __init__(self, rate: float, *, seed: int | None = None, **options: Any) -> None:
        """Makes the layer; `rate` is the share of tokens replaced."""
        super().__init__(**options)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None

    def call(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Token ids int32 [B, T] → [B, T]; padding may be replaced too, which nothing reads."""
        if not training or self.seed_generator is None:
            return token_ids
        chance = keras.random.uniform(tf.shape(token_ids), seed=self.seed_generator)
        return tf.where(chance < self.rate, UNKNOWN_ID, token_ids)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
