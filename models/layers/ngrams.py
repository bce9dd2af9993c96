"""A linear model of the words and word n-grams of a text: the wide branch of a classifier."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.layers.fixed import NEVER, add_fixed, find_keys
from models.text.tokens import UNKNOWN_ID


class Occurrences(NamedTuple):
    """The words and n-grams of a batch of texts that the layer knows."""

    places: tf.Tensor
    """int64 [N, 3]: row, length - 1 and first token of each occurrence."""
    features: tf.Tensor
    """int64 [N], from 0."""
    values: tf.Tensor
    """float32 [N]: the value of the feature in its text, divided by its number of occurrences."""


@keras.saving.register_keras_serializable("textrnn")
class NGrams(keras.layers.Layer):
    """Logits that are linear in the weighted words and n-grams of a text.

    Features are the words of the vocabulary and given n-grams of them, unknown words excepted. The value of a
    feature that occurs n times is (1 + log n) times its scale, and the values of a text have a Euclidean norm
    of 1: TF-IDF if the scales are inverse document frequencies, and the features of Wang and Manning (2012,
    "Baselines and bigrams") if they are naive-Bayes log-count ratios.

    No weight is trained by gradients. The weights of a linear model are the solution of a convex problem,
    which is found once, before the network is trained: call `fill` with it.
    """

    def __init__(
        self, *, vocabulary_size: int, classes: int, longest: int, entries: int, **options: Any
    ) -> None:
        """Create the layer.

        Args:
            vocabulary_size: number of token ids.
            classes: number of logits.
            longest: tokens of the longest n-gram; 1: words alone.
            entries: maximum number of n-grams of two words or more.
            options: of a Keras layer.
        """
        super().__init__(trainable=False, **options)
        self.vocabulary_size, self.classes = vocabulary_size, classes
        self.longest, self.entries = longest, entries if longest > 1 else 0

    def build(self, *_: Any) -> None:
        """Create the weights: without `fill` all logits are 0."""
        features = self.vocabulary_size + self.entries
        self.keys = add_fixed(self, "keys", (self.entries,), dtype="int64")
        self.scale = add_fixed(self, "scale", (features,))
        self.table = add_fixed(self, "table", (features, self.classes))
        self.bias = add_fixed(self, "bias", (self.classes,))
        self.built = True

    def fill(self, keys: np.ndarray, scale: np.ndarray, table: np.ndarray, bias: np.ndarray) -> None:
        """Set all weights.

        Args:
            keys: int64 [at most `entries`], ascending: of each n-gram, as of `ngram_keys`.
            scale: float [vocabulary + keys], of each word and n-gram.
            table: float [vocabulary + keys, classes], weights.
            bias: float [classes].
        """
        missing = self.entries - len(keys)
        self.keys.assign(np.pad(keys, (0, missing), constant_values=NEVER))
        self.scale.assign(np.pad(scale, (0, missing)))
        self.table.assign(np.pad(table, ((0, missing), (0, 0))))
        self.bias.assign(bias)

    def call(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return logits: int32 [B, T], int32 [B] → float32 [B, classes]."""
        found = self.occurrences(token_ids, lengths)
        terms = found.values[:, tf.newaxis] * tf.gather(self.table.value, found.features)
        return self.bias + tf.math.unsorted_segment_sum(terms, found.places[:, 0], tf.shape(token_ids)[0])

    def occurrences(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> Occurrences:
        """Return the words and n-grams of texts.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.
        """
        rows = tf.shape(token_ids, tf.int64)[0]
        ids = tf.cast(token_ids, tf.int64)
        steps = tf.range(tf.shape(token_ids)[1])[tf.newaxis]
        is_word = (ids > UNKNOWN_ID) & (steps < lengths[:, tf.newaxis])
        features, known = [ids], [is_word]
        keys, complete = ids, is_word
        for more in range(1, self.longest if self.entries else 1):
            keys = keys * multiplier(self.vocabulary_size) + tf.roll(ids, -more, axis=1)
            complete &= tf.roll(is_word, -more, axis=1) & (steps < lengths[:, tf.newaxis] - more)
            own, is_there = find_keys(self.keys.value, keys)
            features.append(self.vocabulary_size + own)
            known.append(complete & is_there)
        is_known = tf.stack(known, axis=1)
        places = tf.where(is_known)
        feature = tf.boolean_mask(tf.stack(features, axis=1), is_known)
        every = self.vocabulary_size + self.entries
        pairs, index, counts = tf.unique_with_counts(places[:, 0] * every + feature, out_idx=tf.int64)
        counts = tf.cast(counts, tf.float32)
        values = (1 + tf.math.log(counts)) * tf.gather(self.scale.value, pairs % every)
        squares = tf.math.unsorted_segment_sum(values**2, pairs // every, rows)
        values = tf.math.divide_no_nan(values, tf.gather(tf.sqrt(squares), pairs // every))
        return Occurrences(places, feature, tf.gather(values / counts, index))

    def contributions(self, token_ids: tf.Tensor, lengths: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return what each token adds to a weighted sum of the logits: float32 [B, T].

        The term of an n-gram is divided evenly among its tokens. The terms of a row sum to that of a text of
        its words minus that of a text of unknown words.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B].
            weights: float32 [B, classes], of the logits.
        """
        found = self.occurrences(token_ids, lengths)
        row, order, first = tf.unstack(found.places, axis=1)
        own = tf.gather(self.table.value, found.features) * tf.gather(weights, row)
        terms = found.values * tf.reduce_sum(own, axis=1) / tf.cast(order + 1, tf.float32)
        whole = tf.zeros(tf.shape(token_ids), tf.float32)
        for more in range(self.longest):
            has = order >= more
            places = tf.stack([row, first + more], axis=1)
            whole = tf.tensor_scatter_nd_add(whole, tf.boolean_mask(places, has), tf.boolean_mask(terms, has))
        return whole

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        own = ("vocabulary_size", "classes", "longest", "entries")
        config = super().get_config()
        config.pop("trainable", None)
        return {**config, **{name: getattr(self, name) for name in own}}


def multiplier(vocabulary_size: int) -> int:
    """Return the factor of the keys: an odd number that is larger than all ids."""
    return vocabulary_size | 1


def ngram_keys(ids: np.ndarray, lengths: np.ndarray, length: int, vocabulary_size: int) -> np.ndarray:
    """Return the key of each n-gram of texts that has no unknown word.

    It is a number whose digits are the token ids, modulo 2^64: different n-grams have different keys as long
    as those fit, which 4-grams of 30,000 words do, and almost certainly otherwise.

    Args:
        ids: int [N], the token ids of all texts, concatenated.
        lengths: int [texts], whose sum is N.
        length: tokens of an n-gram.
        vocabulary_size: number of token ids.

    Returns:
        int64 [N]: of the n-gram that begins at each token, -1 where none does.
    """
    ids = ids.astype(np.int64)
    following = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ids))
    keys, complete = ids, ids > UNKNOWN_ID
    for more in range(1, length):
        rolled = np.roll(ids, -more)
        keys = keys * multiplier(vocabulary_size) + rolled
        complete = complete & (rolled > UNKNOWN_ID)
    return np.where(complete & (following >= length), keys, np.int64(-1))
