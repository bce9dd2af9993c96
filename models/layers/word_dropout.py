"""Word dropout: in training, some tokens are read as unknown, rare ones more often."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.text.tokens import UNKNOWN_ID


@keras.saving.register_keras_serializable("textrnn")
class WordDropout(keras.layers.Layer):
    """Replaces token ids by the unknown token's by chance, in training only.

    It keeps a model from learning rows by heart, and teaches it what an unknown word means. Every
    token is dropped at one rate (Iyyer et al. 2015, section 3), and on top of it rare tokens more
    often (Kiperwasser and Goldberg 2016, section 4.1): one that stands n times in the training text
    is dropped with a chance of z / (z + n).
    """

    def __init__(self, rate: float, **options: Any) -> None:
        """Makes the layer; `rate` is the share of tokens dropped whatever their frequency."""
        super().__init__(**options)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()
        self._rates: np.ndarray | None = None

    def drop_rare(self, counts: np.ndarray, half: float) -> None:
        """Also drops rare tokens, from the next tracing on; not saved with the model.

        Args:
            counts: int [vocabulary], how often each token stands in the training text.
            half: z above, the count at which half of the occurrences are dropped; 0 for none.
        """
        rare = half / (half + np.maximum(counts, 1))
        self._rates = (1 - (1 - self.rate) * (1 - rare)).astype(np.float32)

    def call(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Token ids int32 [B, T] → [B, T]; padding may be replaced too, which nothing reads."""
        if not training or (not self.rate and self._rates is None):
            return token_ids
        rate = self.rate if self._rates is None else tf.gather(tf.constant(self._rates), token_ids)
        chance = keras.random.uniform(tf.shape(token_ids), seed=self.seed_generator)
        return tf.where(chance < rate, UNKNOWN_ID, token_ids)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "rate": self.rate}
