"""The positions of a model's tokens in their text."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.text.locate import locate
from models.text.normalize import lower, normalize
from models.text.patterns import MARKUP, WORD_RULES, WordRules
from models.text.subwords import SPACE, SubwordTokenizer
from models.text.tokens import TokenKind, Truncation

_MARK = "\x02"  # at both ends of markup


class Positions(NamedTuple):
    """The positions of tokens: int32 ragged [B, (tokens)], in characters of `normalize(text)`."""

    start: tf.RaggedTensor
    end: tf.RaggedTensor
    """Exclusive."""


def positions(
    texts: tf.Tensor,
    *,
    tokens: TokenKind = "word",
    lowercase: bool = True,
    max_length: int = 0,
    truncate: Truncation = "end",
    subwords: SubwordTokenizer | None = None,
    lines: bool = False,
    joins: bool = False,
    rules: WordRules = WORD_RULES,
) -> Positions:
    """Return the positions of the tokens of `tokenize`, called with the same arguments.

    Positions refer to the original text, with its case and markup. Several tokens can have one position: the
    bytes of a character, and a character that has two in lower case (İ). The space that a subword begins with
    is not included, unless it is the whole subword.

    Args:
        texts: string [B].
        tokens: as in `tokenize`, like the following ones.
        lowercase: as in `tokenize`.
        max_length: as in `tokenize`.
        truncate: as in `tokenize`.
        subwords: as in `tokenize`; must not collapse white space.
        lines: must be False: line breaks as tokens have no positions.
        joins: must be False.
        rules: as in `tokenize`.

    `positions(["I <b>don't</b>"]) -> [[0, 5, 7]], [[1, 7, 10]]`
    """
    if lines or joins or (subwords is not None and subwords.collapse):
        got = f"lines={lines}, joins={joins}, subwords={subwords}"
        raise ValueError(f"positions needs texts as they are, got {got}")
    if tokens == "word":
        found = _words(texts, lowercase, rules)
    elif tokens == "byte":
        places = _bytes(texts)
        found = Positions(places, places + 1)
    elif tokens == "char":
        places = _characters(texts, lowercase)
        found = Positions(places, places + 1)
    elif subwords is None:
        raise ValueError("subword tokens need a SubwordTokenizer; got none")
    else:
        found = _subwords(texts, lowercase, subwords)
    if not max_length:
        return found
    count = found.start.row_lengths()
    kept = tf.minimum(count, max_length)
    head = max_length if truncate == "end" else max_length - max_length // 2
    chosen = tf.ragged.range(kept)
    lost = tf.gather(count - kept, chosen.value_rowids())
    chosen = chosen.with_flat_values(
        tf.where(chosen.flat_values < head, chosen.flat_values, chosen.flat_values + lost)
    )
    return Positions(*(tf.gather(each, chosen, batch_dims=1) for each in found))


def _words(texts: tf.Tensor, lowercase: bool, rules: WordRules) -> Positions:
    """Return the positions of words: the texts between markup are tokenized separately."""
    texts = normalize(texts, lowercase=False)
    if lowercase:
        texts = tf.strings.regex_replace(texts, r"\x00", " ")  # as `lower` does
    texts = tf.strings.regex_replace(texts, _MARK, "\x01")  # which separates words as well
    parts = tf.strings.split(tf.strings.regex_replace(texts, MARKUP, rf"{_MARK}\0{_MARK}"), _MARK)
    before = _before(parts.with_values(tf.strings.length(parts.values, unit="UTF8_CHAR")))
    place = tf.range(tf.size(before, tf.int64)) - tf.gather(parts.row_starts(), parts.value_rowids())
    _, starts, ends = locate(parts.values, rules=rules)
    part = starts.value_rowids()
    is_text = starts.with_values(tf.gather(place % 2 == 0, part))
    shift = tf.gather(before, part)
    return Positions(
        *(
            parts.with_values(
                tf.ragged.boolean_mask(each.with_values(each.values + shift), is_text)
            ).merge_dims(1, 2)
            for each in (starts, ends)
        )
    )


def _before(counts: tf.RaggedTensor) -> tf.Tensor:
    """Return the sum of the values before each value in its row: int32 [B, (n)] → flat [N]."""
    sums = tf.cumsum(counts.values, exclusive=True)
    return sums - tf.gather(tf.concat([sums, [0]], 0), tf.gather(counts.row_starts(), counts.value_rowids()))


def _characters(texts: tf.Tensor, lowercase: bool) -> tf.RaggedTensor:
    """Return the position in its text of each character of `normalize(texts, lowercase)`."""
    characters = tf.strings.unicode_split(normalize(texts, lowercase=False), "UTF-8")
    places = tf.ragged.range(tf.cast(characters.row_lengths(), tf.int32), row_splits_dtype=tf.int64)
    if not lowercase:
        return places
    widths = tf.strings.length(lower(characters.values), unit="UTF8_CHAR")
    each = tf.RaggedTensor.from_row_lengths(tf.repeat(places.values, widths), tf.cast(widths, tf.int64))
    return places.with_values(each).merge_dims(1, 2)


def _bytes(texts: tf.Tensor) -> tf.RaggedTensor:
    """Return the position of the character that each byte belongs to."""
    pieces = tf.strings.bytes_split(texts)
    _, firsts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8", errors="replace")
    at = firsts.values + tf.gather(pieces.row_starts(), firsts.value_rowids())
    begins = tf.scatter_nd(at[:, tf.newaxis], tf.ones_like(at), tf.shape(pieces.values, tf.int64))
    characters = tf.cumsum(begins) - 1 - tf.gather(firsts.row_starts(), pieces.value_rowids())
    return pieces.with_values(tf.cast(characters, tf.int32))


def _subwords(texts: tf.Tensor, lowercase: bool, subwords: SubwordTokenizer) -> Positions:
    """Return the positions of pieces, which joined are a space and the whole text."""
    pieces = subwords.tokenize(normalize(texts, lowercase))
    widths = tf.strings.length(pieces.values, unit="UTF8_CHAR")
    begins = _before(pieces.with_values(widths)) - 1
    ends = begins + widths
    spaced = tf.strings.regex_full_match(pieces.values, rf"{SPACE}\C+")
    begins = tf.maximum(begins + tf.cast(spaced, tf.int32), 0)
    origins = _characters(texts, lowercase)
    starts = tf.gather(origins, pieces.with_values(begins), batch_dims=1)
    lasts = tf.gather(origins, pieces.with_values(tf.maximum(ends - 1, 0)), batch_dims=1)
    ends = tf.where(ends > begins, lasts.values + 1, starts.values)  # the added space has no width
    return Positions(starts, starts.with_values(ends))
