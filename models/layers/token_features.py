"""A linear model of hashed features of tokens and of their neighbours."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.dropout import Dropout
from models.text.word_features import HASHES, WORD_FEATURES

_NEIGHBOURS = tuple(WORD_FEATURES.index(name) for name in ("lower", "suffix2", "suffix3", "shape"))
"""The features of the previous and of the next word."""
_LOWER = WORD_FEATURES.index("lower")
_EDGE = HASHES
"""Takes the place of the features of a word before the first and after the last token."""
_FACTORS = {"own": 1, "previous": 5, "next": 13}
"""Odd numbers: hashes times each of them stay distinct in a table of a power of 2."""
_PAIR = (92821, 31)


@keras.saving.register_keras_serializable("textrnn")
class TokenFeatures(keras.layers.Layer):
    """Scores of each token from its features and those of its neighbours (Huang et al. 2015, section 3.4).

    A token has the features of its word, some of those of the previous and of the next word, and the pairs
    of its word with either. Each feature is hashed to a row of one table (Weinberger et al. 2009), and the
    rows are added. They are zeros at first.
    """

    def __init__(self, buckets: int, outputs: int, *, dropout: float = 0.0, **options: Any) -> None:
        """Create the layer.

        Args:
            buckets: rows of the table.
            outputs: scores of a token, K.
            dropout: rate at which single features are left out in training; those of one word alone in all
                places of a batch.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.arguments = {"buckets": buckets, "outputs": outputs, "dropout": dropout}
        self.buckets, self.outputs = buckets, outputs
        self.dropout = Dropout(dropout, name="dropout")

    def build(self, *_: Any) -> None:
        """Create the table."""
        self.table = self.add_weight(
            shape=(self.buckets, self.outputs), initializer="zeros", name="table", autocast=False
        )
        self.built = True

    def call(
        self, features: tf.Tensor, word_types: tf.Tensor, lengths: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Return scores.

        Args:
            features: int32 [U, F], of `models.text.word_features.word_features`.
            word_types: int32 [B, T], the row of `features` for each token; any row for padding.
            lengths: int32 [B], each from 1 to T.
            training: whether to apply dropout.

        Returns:
            float32 [B, T, K]; meaningless beyond a row's length.
        """
        edge = tf.fill([1, len(WORD_FEATURES)], _EDGE)
        features = tf.cast(tf.concat([features, edge], axis=0), tf.int64)
        features.set_shape([None, len(WORD_FEATURES)])  # which dropout needs
        no_word = tf.shape(features)[0] - 1
        rows, width = tf.unstack(tf.shape(word_types))
        before = tf.concat([tf.fill([rows, 1], no_word), word_types[:, :-1]], axis=1)
        after = tf.concat([word_types[:, 1:], tf.fill([rows, 1], no_word)], axis=1)
        after = tf.where(tf.range(1, width + 1) < lengths[:, tf.newaxis], after, no_word)
        around = tf.gather(features, _NEIGHBOURS, axis=1)
        # What depends on one word alone is added up once for each distinct word.
        scores = tf.gather(self._scores(features * _FACTORS["own"], training), word_types)
        scores += tf.gather(self._scores(around * _FACTORS["previous"] + 1, training), before)
        scores += tf.gather(self._scores(around * _FACTORS["next"] + 2, training), after)
        words = features[:, _LOWER]
        here = tf.gather(words, word_types)
        first, second = _PAIR
        pairs = [tf.gather(words, before) * first + here * second + 3]
        pairs.append(here * first + tf.gather(words, after) * second + 4)
        return scores + self._scores(tf.stack(pairs, axis=-1), training)

    def _scores(self, features: tf.Tensor, training: bool) -> tf.Tensor:
        """Return the summed rows of features: int64 [..., F] → float32 [..., K]."""
        found = tf.nn.embedding_lookup(self.table.value, tf.math.floormod(features, self.buckets))
        if training:
            kept = self.dropout(tf.ones_like(features, found.dtype), training=True)
            found *= kept[..., tf.newaxis]
        return tf.reduce_sum(found, axis=-2)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), **self.arguments}
