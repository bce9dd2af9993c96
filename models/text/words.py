"""Words to the inputs of a tagger: the id of each word, those of its characters, and its features."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.text.invisible import without_invisible
from models.text.normalize import normalize
from models.text.patterns import WORD_RULES, WordRules
from models.text.preprocessor import Preprocessor
from models.text.tokens import PADDING
from models.text.word_features import word_features

MOST_CHARACTERS = 32
"""Maximum number of characters of a word; a longer word loses its middle."""


class WordEncoder(tf.Module):
    """Encoder of words for a tagger: the id of each word, those of its characters, and its features."""

    def __init__(
        self,
        vocabulary: Sequence[bytes],
        characters: Sequence[bytes],
        *,
        lowercase: bool = True,
        rules: WordRules = WORD_RULES,
        features: bool = False,
    ) -> None:
        """Build the lookup tables.

        Args:
            vocabulary: known words; starts with `SPECIAL_TOKENS`.
            characters: known characters; starts with `SPECIAL_TOKENS`.
            lowercase: whether words are looked up in lower case; characters keep their case.
            rules: as in `tokenize`.
            features: whether words have `models.text.word_features`.
        """
        super().__init__(name="word_encoder")
        self.lowercase, self.rules, self.features = lowercase, rules, features
        self.words = Preprocessor(vocabulary)
        self.characters = Preprocessor(
            characters, tokens="char", lowercase=False, max_length=MOST_CHARACTERS, truncate="middle"
        )

    def describe(self, word_types: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the ids of distinct words: string [U].

        Returns:
            word ids int32 [U]; character ids int32 [U, C]; their numbers int32 [U], at least 1; the hashes of
            their features int32 [U, F], F = 0 without features.
        """
        word_types = visible(word_types, self.rules)
        words = tf.cast(self.words.table.lookup(lookup_key(word_types, self.lowercase)), tf.int32)
        features = tf.zeros([tf.shape(words)[0], 0], tf.int32)
        if self.features:
            features = word_features(normalize(word_types, lowercase=False))
        return words, *self.characters(word_types), features

    def __call__(self, tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Return the arguments of a `models.tagger.Tagger` for tokens: string [B, (tokens)].

        Returns:
            `token_ids` int32 [B, T], `lengths` int32 [B] (at least 1), `word_types` int32 [B, T],
            `characters` int32 [U, C], `character_lengths` int32 [U], `word_features` int32 [U, F].
        """
        distinct, places = tf.unique(tokens.flat_values)
        # A row without tokens gets the first word, which no other row has.
        places += 1
        words, characters, character_lengths, features = self.describe(tf.concat([[PADDING], distinct], 0))
        word_types = tokens.with_flat_values(places)
        missing = tf.maximum(1 - tf.cast(tf.shape(word_types.to_tensor())[1], tf.int32), 0)

        def dense(flat: tf.Tensor) -> tf.Tensor:
            return tf.pad(tokens.with_flat_values(flat).to_tensor(0), [[0, 0], [0, missing]])

        return {
            "token_ids": dense(tf.gather(words, places)),
            "lengths": tf.maximum(tf.cast(tokens.row_lengths(), tf.int32), 1),
            "word_types": dense(places),
            "characters": characters,
            "character_lengths": character_lengths,
            "word_features": features,
        }


def visible(word_types: tf.Tensor, rules: WordRules = WORD_RULES) -> tf.Tensor:
    """Return words as a tagger sees them, without invisible characters: string [U] → string [U]."""
    if rules == 1:
        return word_types
    return without_invisible(normalize(word_types, lowercase=False))


def lookup_key(word_types: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Return the key of each word in the vocabulary: string [U] → string [U]."""
    return tf.strings.regex_replace(normalize(word_types, lowercase), "’", "'")
