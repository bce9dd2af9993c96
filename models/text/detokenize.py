"""Tokens to text, in the graph."""

from __future__ import annotations

import tensorflow as tf

from models.text.joins import read_joins, unescape
from models.text.subwords import SPACE
from models.text.tokens import NEWLINE, TokenKind


def detokenize(
    pieces: tf.RaggedTensor, tokens: TokenKind, *, joins: bool = False, previous: tf.Tensor | None = None
) -> tf.Tensor:
    """Join tokens to a text that continues another: string [B, (tokens)] → [B].

    `char`, `byte`: joined unchanged. `subword`: a text's first space, if it has one, is kept. `word`: spaces
    as `models.text.joins` has them, also before the first token if there is none before it. More tokens never
    change the text of those before them: a text can be shown while it grows.

    Args:
        pieces: tokens.
        tokens: their kind.
        joins: whether `word` tokens keep how they join, as with `tokenize`; else case, markup, invisible
            characters and unusual spaces are lost.
        previous: string [B], of `word` the token before each text; "" or None: there is none.
    """
    if tokens in ("char", "byte"):
        return tf.strings.reduce_join(pieces, axis=1)
    if tokens == "subword":
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=1), SPACE, " ")
    words, space = read_joins(pieces, marked=joins, previous=previous)
    words = unescape(words) if joins else tf.where(tf.equal(words, NEWLINE), "\n", words)
    joined = tf.strings.join([tf.where(space, " ", ""), words])
    return tf.strings.reduce_join(pieces.with_flat_values(joined), axis=1)
