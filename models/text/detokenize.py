"""Tokens to text, in the graph."""

from __future__ import annotations

import tensorflow as tf

from models.text.subwords import SPACE
from models.text.tokens import NEWLINE, TokenKind

# Tokens without a space before them, and tokens without a space after them.
_CLOSES = r"(?i)[.,!?;:%)\]}…]|\.\.+|n't|'(?:s|m|d|ll|re|ve)"
_OPENS = r"[(\[{$£€]"


def detokenize(pieces: tf.RaggedTensor, tokens: TokenKind) -> tf.Tensor:
    """Join tokens to a text that continues another: string [B, (tokens)] → [B].

    `char`, `byte`: joined unchanged. `subword`: a text's first space, if it has one, is kept. `word`: a space
    before each token, except punctuation and contractions; case and markup are lost. More tokens never
    change the text of those before them: a text can be shown while it grows.
    """
    if tokens in ("char", "byte"):
        return tf.strings.reduce_join(pieces, axis=1)
    if tokens == "subword":
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), SPACE, " ")
    flat, row = pieces.flat_values, pieces.value_rowids()
    breaks = tf.equal(flat, NEWLINE)
    opens = breaks | tf.strings.regex_full_match(flat, _OPENS)
    # Nothing precedes the first token of all; without tokens there is not even this one.
    after_opening = tf.concat([[False], opens[:-1] & tf.equal(row[1:], row[:-1])], 0)[: tf.size(flat)]
    close = breaks | tf.strings.regex_full_match(flat, _CLOSES) | after_opening
    joined = tf.strings.join([tf.where(close, "", " "), tf.where(breaks, "\n", flat)])
    return tf.strings.reduce_join(pieces.with_flat_values(joined), axis=1)
