"""Strings to token ids: tokenization, a fixed vocabulary, truncation and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.text.patterns import WORD_RULES, WordRules
from models.text.subwords import SubwordTokenizer
from models.text.tokenize import tokenize
from models.text.tokens import PADDING_ID, SPECIAL_TOKENS, UNKNOWN_ID, TokenKind, Truncation


class Preprocessor(tf.Module):
    """Strings to token ids: tokens, a fixed vocabulary, truncation and padding."""

    def __init__(
        self,
        vocabulary: Sequence[bytes],
        *,
        tokens: TokenKind = "word",
        lowercase: bool = True,
        max_length: int = 0,
        truncate: Truncation = "end",
        subwords: SubwordTokenizer | None = None,
        lines: bool = False,
        joins: bool = False,
        rules: WordRules = WORD_RULES,
    ) -> None:
        """Build the lookup table.

        Args:
            vocabulary: distinct tokens; an id is a token's position. Starts with `SPECIAL_TOKENS`.
            tokens: as in `tokenize`.
            lowercase: as in `tokenize`.
            max_length: as in `tokenize`.
            truncate: as in `tokenize`.
            subwords: as in `tokenize`.
            lines: as in `tokenize`.
            joins: as in `tokenize`.
            rules: as in `tokenize`.
        """
        super().__init__(name="preprocessor")
        if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise ValueError(f"a vocabulary starts with {SPECIAL_TOKENS}, got {vocabulary[:2]}")
        self.options: dict[str, Any] = {
            "tokens": tokens,
            "lowercase": lowercase,
            "max_length": max_length,
            "truncate": truncate,
            "subwords": subwords,
            "lines": lines,
            "joins": joins,
            "rules": rules,
        }
        first = UNKNOWN_ID  # has an entry, so that the table is never empty, which TensorFlow refuses
        known = list(vocabulary[first:])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(known, tf.string), tf.range(first, first + len(known), dtype=tf.int64)
            ),
            default_value=UNKNOWN_ID,
        )

    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the token ids of texts.

        Args:
            texts: string [B].

        Returns:
            ids int32 [B, T], right-padded with 0, T at least 1; lengths int32 [B], at least 1: a text
            without tokens counts as one step of padding, so that no row has zero steps.
            `["good film", ""] -> [[7, 9], [0, 0]], [2, 1]`
        """
        return self.look_up(tokenize(texts, **self.options))

    def ids(self, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
        """Return the token ids of tokens, without padding: string [B, (tokens)] → int32 [B, (tokens)]."""
        return pieces.with_flat_values(tf.cast(self.table.lookup(pieces.flat_values), tf.int32))

    def look_up(self, pieces: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the token ids of tokens, string [B, (tokens)], in the format of `__call__`."""
        ids = self.ids(pieces)
        lengths = tf.maximum(tf.cast(ids.row_lengths(), tf.int32), 1)
        longest = tf.maximum(tf.reduce_max(lengths), 1)  # without rows it is a negative number
        return ids.to_tensor(PADDING_ID, shape=tf.stack([-1, longest])), lengths
