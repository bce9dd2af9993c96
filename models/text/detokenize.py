"""Tokens to text, in the graph."""

from __future__ import annotations

import tensorflow as tf

from models.text.subwords import SPACE
from models.text.tokens import NEWLINE, TokenKind

# Tokens that stand close to the one before them, and to the one behind them, where words are written out.
_CLOSES = r"(?i)[.,!?;:%)\]}…]|\.\.+|n't|'(?:s|m|d|ll|re|ve)"
_OPENS = r"[(\[{$£€]"


def detokenize(pieces: tf.RaggedTensor, tokens: TokenKind) -> tf.Tensor:
    """Writes tokens as a text that goes on behind another: string [B, (tokens)] → [B].

    `char`, `byte`: as they stand. `subword`: a text's first space, if it has one, is kept. `word`: a space
    before each token, but punctuation and contractions stand close; case and markup are gone. More tokens
    never change what those before them are written as: a text can be shown while it grows.
    """
    if tokens in ("char", "byte"):
        return tf.strings.reduce_join(pieces, axis=1)
    if tokens == "subword":
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), SPACE, " ")
    flat, row = pieces.flat_values, pieces.value_rowids()
    breaks = tf.equal(flat, NEWLINE)
    opens = breaks | tf.strings.regex_full_match(flat, _OPENS)
    # Of the first token of all nothing stands before; of no tokens at all there is not even this one.
    behind_opening = tf.concat([[False], opens[:-1] & tf.equal(row[1:], row[:-1])], 0)[: tf.size(flat)]
    close = breaks | tf.strings.regex_full_match(flat, _CLOSES) | behind_opening
    written = tf.strings.join([tf.where(close, "", " "), tf.where(breaks, "\n", flat)])
    return tf.strings.reduce_join(pieces.with_flat_values(written), axis=1)
