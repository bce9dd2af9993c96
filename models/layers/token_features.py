"""A linear model of the features of tokens and of their neighbours: the wide branch of a tagger."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.layers.fixed import NEVER, add_fixed, find_keys
from models.text.word_features import HASHES, WORD_FEATURES

_NEIGHBOURS = tuple(WORD_FEATURES.index(name) for name in ("lower", "suffix2", "suffix3", "shape"))
"""The features of the previous and of the next word."""
_LOWER = WORD_FEATURES.index("lower")
_NO_WORD = tuple(range(HASHES, HASHES + len(WORD_FEATURES)))
"""Take the place of the hashes of a word before the first and after the last token."""
_KINDS = 5
"""A key is a hash times this number, plus a number of its kind, from 0."""
_PAIR = (92821, 31)
"""Factors of the hashes of two words, which are added."""


class FeatureKeys(NamedTuple):
    """Numbers of the features of tokens, those of one word once for each distinct word."""

    own: tf.Tensor
    """int64 [U + 1, F]: of a word, at the place of its token."""
    previous: tf.Tensor
    """int64 [U + 1, 4]: of a word, at the place after its token."""
    following: tf.Tensor
    """int64 [U + 1, 4]: of a word, at the place before its token."""
    pairs: tf.Tensor
    """int64 [..., 2]: of a token with its neighbours."""


def feature_keys(features: tf.Tensor, here: tf.Tensor, before: tf.Tensor, after: tf.Tensor) -> FeatureKeys:
    """Return the keys of the features of tokens.

    Args:
        features: int32 [U, F], of `models.text.word_features.word_features`.
        here: int32 [...], the row of `features` of each token.
        before: int32 [...], that of the previous token; U if there is none.
        after: int32 [...], that of the next token; U if there is none.
    """
    features = tf.cast(tf.concat([features, [_NO_WORD]], axis=0), tf.int64)
    around = tf.gather(features, _NEIGHBOURS, axis=1)
    words = features[:, _LOWER]
    first, second = _PAIR
    here, before, after = (tf.gather(words, place) for place in (here, before, after))
    pairs = tf.stack(
        [(before * first + here * second) * _KINDS + 3, (here * first + after * second) * _KINDS + 4], axis=-1
    )
    return FeatureKeys(features * _KINDS, around * _KINDS + 1, around * _KINDS + 2, pairs)


@keras.saving.register_keras_serializable("textrnn")
class TokenFeatures(keras.layers.Layer):
    """Scores of each token that are linear in its features and those of its neighbours.

    A token has the features of its word (the word, its affixes, its shape), some of those of the previous and
    of the next word, and the pairs of its word with either (Huang et al. 2015, section 3.4). The layer knows
    given ones.

    No weight is trained by gradients. The weights of a linear model are the solution of a convex problem,
    which is found once, before the network is trained: call `fill` with it.
    """

    def __init__(self, *, tags: int, entries: int, **options: Any) -> None:
        """Create the layer.

        Args:
            tags: scores of a token, K.
            entries: maximum number of features.
            options: of `keras.layers.Layer`.
        """
        super().__init__(trainable=False, **options)
        self.tags, self.entries = tags, entries

    def build(self, *_: Any) -> None:
        """Create the weights: without `fill` all scores are 0."""
        self.keys = add_fixed(self, "keys", (self.entries,), dtype="int64")
        # The last row is that of all features that are not known.
        self.table = add_fixed(self, "table", (self.entries + 1, self.tags))
        self.bias = add_fixed(self, "bias", (self.tags,))
        self.built = True

    def fill(self, keys: np.ndarray, table: np.ndarray, bias: np.ndarray) -> None:
        """Set all weights.

        Args:
            keys: int64 [at most `entries`], ascending, see `feature_keys`.
            table: float [keys, K], the weights of each feature.
            bias: float [K].
        """
        missing = self.entries - len(keys)
        self.keys.assign(np.pad(keys, (0, missing), constant_values=NEVER))
        self.table.assign(np.pad(table, ((0, missing + 1), (0, 0))))
        self.bias.assign(bias)

    def call(self, features: tf.Tensor, word_types: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return scores.

        Args:
            features: int32 [U, F], of `models.text.word_features.word_features`.
            word_types: int32 [B, T], the row of `features` for each token; any row for padding.
            lengths: int32 [B], each from 1 to T.

        Returns:
            float32 [B, T, K]; meaningless beyond a row's length.
        """
        no_word = tf.shape(features)[0]
        rows, width = tf.unstack(tf.shape(word_types))
        before = tf.concat([tf.fill([rows, 1], no_word), word_types[:, :-1]], axis=1)
        after = tf.concat([word_types[:, 1:], tf.fill([rows, 1], no_word)], axis=1)
        after = tf.where(tf.range(1, width + 1) < lengths[:, tf.newaxis], after, no_word)
        keys = feature_keys(features, word_types, before, after)
        # What depends on one word alone is added up once for each distinct word.
        scores = self.bias + tf.gather(self._scores(keys.own), word_types)
        scores += tf.gather(self._scores(keys.previous), before)
        scores += tf.gather(self._scores(keys.following), after)
        return scores + self._scores(keys.pairs)

    def _scores(self, keys: tf.Tensor) -> tf.Tensor:
        """Return the summed rows of features: int64 [..., F] → float32 [..., K]."""
        places, known = find_keys(self.keys.value, keys)
        places = tf.where(known, places, self.entries)
        return tf.reduce_sum(tf.gather(self.table.value, places), axis=-2)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        config = super().get_config()
        config.pop("trainable", None)
        return {**config, "tags": self.tags, "entries": self.entries}
