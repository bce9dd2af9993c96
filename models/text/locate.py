"""The positions of words in their text."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.text.invisible import INVISIBLE
from models.text.normalize import normalize
from models.text.patterns import WORD_RULES, WordRules, separate_tokens

_BOUNDARY = "\x02"  # follows each token: tokenizing treats it as a separator


class Located(NamedTuple):
    """Tokens and their positions in their text: ragged [B, (tokens)]."""

    tokens: tf.RaggedTensor
    """string, exactly as in the text."""
    start: tf.RaggedTensor
    """int32, in characters."""
    end: tf.RaggedTensor
    """int32, in characters; exclusive."""


def locate(texts: tf.Tensor, *, rules: WordRules = WORD_RULES) -> Located:
    """Split texts into words as `tokenize` does, but unchanged: `text[start:end]` is the token.

    Case is kept, markup is text, a typographic apostrophe is kept, and invalid UTF-8 is replaced as by
    `normalize`. Invisible characters inside a token are kept, those between tokens belong to none.

    Args:
        texts: string [B].
        rules: as in `tokenize`.

    `locate(["I don't"]) -> [["I", "do", "n't"]], [[0, 2, 4]], [[1, 4, 7]]`
    """
    texts = normalize(texts, lowercase=False)
    between = INVISIBLE if rules > 1 else ""
    also = r"\x{FEFF}" if rules == 1 else ""
    blank = tf.strings.regex_replace(texts, rf"[\p{{Z}}\p{{Cc}}{also}]", " ")  # each one: positions stay
    pieces = tf.strings.split(separate_tokens(blank, _BOUNDARY, rules=rules), _BOUNDARY)
    tokens = tf.strings.regex_replace(pieces.flat_values, rf"^[ {between}]+", "")
    widths = pieces.with_flat_values(tf.strings.length(pieces.flat_values, unit="UTF8_CHAR"))
    ends = tf.cumsum(widths.flat_values)
    before = tf.gather(tf.concat([[0], ends], 0), pieces.row_starts())
    ends -= tf.gather(before, pieces.value_rowids())
    starts = ends - tf.strings.length(tokens, unit="UTF8_CHAR")
    real = pieces.with_flat_values(tf.not_equal(tokens, ""))
    return Located(
        *(tf.ragged.boolean_mask(pieces.with_flat_values(flat), real) for flat in (tokens, starts, ends))
    )
