"""The positions of words in their text."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.text.normalize import normalize
from models.text.tokenize import separate_tokens

_BOUNDARY = "\x02"  # follows each token: tokenizing treats it as a separator


class Located(NamedTuple):
    """Tokens and their positions in their text: ragged [B, (tokens)]."""

    tokens: tf.RaggedTensor
    """string, exactly as in the text."""
    start: tf.RaggedTensor
    """int32, in characters."""
    end: tf.RaggedTensor
    """int32, in characters; exclusive."""


def locate(texts: tf.Tensor) -> Located:
    """Split texts into words as `tokenize` does, but unchanged: `text[start:end]` is the token.

    Case is kept, markup is text, a typographic apostrophe is kept, and invalid UTF-8 is replaced as by
    `normalize`.

    Args:
        texts: string [B].

    `locate(["I don't"]) -> [["I", "do", "n't"]], [[0, 2, 4]], [[1, 4, 7]]`
    """
    texts = normalize(texts, lowercase=False)
    blank = tf.strings.regex_replace(texts, r"[\p{Z}\p{Cc}\x{FEFF}]", " ")  # each one, so that positions stay
    pieces = tf.strings.split(separate_tokens(blank, _BOUNDARY), _BOUNDARY)
    tokens = tf.strings.regex_replace(pieces.flat_values, "^ +", "")
    widths = pieces.with_flat_values(tf.strings.length(pieces.flat_values, unit="UTF8_CHAR"))
    ends = tf.cumsum(widths.flat_values)
    before = tf.gather(tf.concat([[0], ends], 0), pieces.row_starts())
    ends -= tf.gather(before, pieces.value_rowids())
    starts = ends - tf.strings.length(tokens, unit="UTF8_CHAR")
    real = pieces.with_flat_values(tf.not_equal(tokens, ""))
    return Located(
        *(tf.ragged.boolean_mask(pieces.with_flat_values(flat), real) for flat in (tokens, starts, ends))
    )
