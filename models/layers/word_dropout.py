"""Word dropout: in training, some tokens are replaced by [UNK], rare ones more often."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.text.tokens import UNKNOWN_ID


@keras.saving.register_keras_serializable("textrnn")
class WordDropout(keras.layers.Layer):
    """Replaces random tokens by [UNK], in training only.

    It reduces overfitting and trains the embedding of [UNK]. Every token is dropped at one rate (Iyyer et al.
    2015, section 3), and rare tokens more often (Kiperwasser and Goldberg 2016, section 4.1): a token that
    occurs n times in the training text is dropped with a probability of z / (z + n).
    """

    def __init__(self, rate: float, **options: Any) -> None:
        """Create the layer; `rate` is the probability to drop a token, whatever its frequency."""
        super().__init__(**options)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()
        self._rates: np.ndarray | None = None

    def drop_rare(self, counts: np.ndarray, half: float) -> None:
        """Drop rare tokens, too, from the next tracing on; not saved with the model.

        Args:
            counts: int [vocabulary], how often each token occurs in the training text.
            half: z above, the count at which half of the occurrences are dropped; 0 for none.
        """
        rare = half / (half + np.maximum(counts, 1))
        self._rates = (1 - (1 - self.rate) * (1 - rare)).astype(np.float32)

    def call(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Replace token ids: int32 [B, T] → [B, T]; padding may be replaced, too."""
        if not training or (not self.rate and self._rates is None):
            return token_ids
        rate = self.rate if self._rates is None else tf.gather(tf.constant(self._rates), token_ids)
        chance = keras.random.uniform(tf.shape(token_ids), seed=self.seed_generator)
        return tf.where(chance < rate, UNKNOWN_ID, token_ids)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "rate": self.rate}
