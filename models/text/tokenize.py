"""Tokenization in the graph: the one function that training, prediction and the SavedModel share.

It uses only core TensorFlow string operations, so that a SavedModel needs no extra library.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.text.normalize import normalize
from models.text.subwords import SubwordTokenizer
from models.text.tokens import NEWLINE, TokenKind, Truncation

_APOSTROPHE = "['’]"
# Scripts without spaces between words: each letter is a token.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# A letter of a spaced script: "not (not a letter, or of an unspaced script)".
_LETTER = rf"[^\P{{L}}{_UNSPACED}]"
# Zero-width (non-)joiners belong into words of Persian and of Indic scripts.
_WORD = rf"(?:{_LETTER}|[\p{{M}}\p{{N}}_\x{{200C}}\x{{200D}}])+"
_TOKEN = "|".join(
    (
        r"\p{N}+(?:[.,:/]\p{N}+)+",  # 3.14  1,000  10:30  7/10
        rf"{_WORD}(?:{_APOSTROPHE}{_WORD})*",
        rf"[{_UNSPACED}]\p{{M}}*",
        r"[\x{1F1E6}-\x{1F1FF}]{2}",  # a flag is a pair of regional indicators
        r"\p{So}[\p{Sk}\p{M}]*(?:\x{200D}\p{So}[\p{Sk}\p{M}]*)*",  # emoji, skin tones, joined families
        r"\.\.+",
        r"--+",
        r"\S",  # any other sign is a token of its own: nothing is lost
    )
)
MARKUP = (
    r"(?i)</?(?:a|b|br|blockquote|code|div|em|h[1-6]|hr|i|li|ol|p|pre|span|strong|table|td|th|tr|u|ul)"
    r"(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>"
)
_SEPARATOR = rf"{MARKUP}|[\p{{Z}}\p{{Cc}}\x{{FEFF}}]+"


def tokenize(
    texts: tf.Tensor,
    *,
    tokens: TokenKind = "word",
    lowercase: bool = True,
    max_length: int = 0,
    truncate: Truncation = "end",
    subwords: SubwordTokenizer | None = None,
    lines: bool = False,
) -> tf.RaggedTensor:
    """Split texts into tokens.

    `word`: words, numbers and signs as a person would count them; English contractions apart
    (`don't` → `do` `n't`), a typographic apostrophe replaced by a plain one, markup such as `<br />`
    is a separator, in scripts without spaces each letter is a token. `char`: Unicode code points.
    `byte`: the bytes, unchanged. `subword`: pieces of words, as learned from a training text.

    Invalid UTF-8 becomes U+FFFD, but in `byte`.

    Args:
        texts: string [B].
        tokens: the kind of token.
        lowercase: whether case is dropped (for bytes: of ASCII letters only).
        max_length: the most tokens of a text that are kept; 0 keeps all.
        truncate: what a longer text loses: its `end`, or its `middle` (a review's verdict often
            stands at its end).
        subwords: the tokenizer of `subword` tokens.
        lines: whether a line break is a token, `NEWLINE`, of `word` tokens too.

    Returns:
        string [B, (tokens)]; an empty text has no tokens.
    """
    if tokens == "word":
        # What `tf.strings.split` does, but for a row's length, for which it takes ten operations.
        split = tf.raw_ops.StringSplitV2(input=_words(texts, lowercase, lines), sep="")
        rows, position = tf.unstack(split.indices, axis=1)
        none = tf.zeros([0], tf.int64)
        lengths = tf.raw_ops.DenseBincount(input=rows, size=split.shape[0], weights=none)
        return _truncated(split.values, rows, position, lengths, max_length, truncate)
    pieces = _cut(texts, tokens, lowercase, subwords)
    if not max_length:
        return pieces
    rows, lengths = pieces.value_rowids(), pieces.row_lengths()
    position = tf.range(tf.size(rows, tf.int64)) - tf.gather(pieces.row_starts(), rows)
    return _truncated(pieces.flat_values, rows, position, lengths, max_length, truncate)


def unique_tokens(texts: tf.Tensor, **options: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the distinct tokens of texts, for learning a vocabulary.

    Args:
        texts: string [B].
        options: of `tokenize`.

    Returns:
        distinct tokens string [U]; for each token of all texts its position among them, int32 [N];
        the number of tokens of each text, int64 [B].
    """
    pieces = tokenize(texts, **options)
    distinct, positions = tf.unique(pieces.flat_values)
    return distinct, positions, pieces.row_lengths()


def separate_tokens(texts: tf.Tensor, mark: str) -> tf.Tensor:
    """Put `mark` after every token; the parts of a contraction become separate tokens."""
    # \\0, not a group: RE2 is then 8 times faster.
    texts = tf.strings.regex_replace(texts, _TOKEN, rf"\0{mark}")
    # Both match words that already end with a mark, since RE2's \b knows ASCII letters only. A single mark
    # means that the two were adjacent.
    suffix, t = r"(?:s|m|d|ll|re|ve)", _APOSTROPHE
    texts = tf.strings.regex_replace(texts, rf"(?i)({t}){mark}({suffix}){mark}", rf"\1\2{mark}")
    contraction = rf"(?i)([\p{{L}}\p{{M}}])(n{t}t|{t}{suffix})({t}{suffix})?{mark}"
    return tf.strings.regex_replace(texts, contraction, rf"\1{mark}\2{mark}\3{mark}")


def _truncated(
    flat: tf.Tensor,
    rows: tf.Tensor,
    position: tf.Tensor,
    lengths: tf.Tensor,
    max_length: int,
    truncate: Truncation,
) -> tf.RaggedTensor:
    """Rows of at most `max_length` tokens, of all tokens, their rows and their places there.

    A text takes little of a model's time; slices of ragged tensors would take more than the model.
    """
    if max_length:
        tail = max_length // 2 if truncate == "middle" else 0
        kept = position < max_length - tail
        if tail:
            kept |= position >= tf.gather(lengths, rows) - tail
        flat, lengths = tf.boolean_mask(flat, kept), tf.minimum(lengths, max_length)
    return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)


def _cut(
    texts: tf.Tensor, tokens: TokenKind, lowercase: bool, subwords: SubwordTokenizer | None
) -> tf.RaggedTensor:
    if tokens == "byte":
        return tf.strings.bytes_split(tf.strings.lower(texts) if lowercase else texts)
    texts = normalize(texts, lowercase)
    if tokens == "char":
        return tf.strings.unicode_split(texts, "UTF-8")
    if subwords is None:
        raise ValueError("subword tokens need a SubwordTokenizer; got none")
    return subwords.tokenize(texts)


def _words(texts: tf.Tensor, lowercase: bool, lines: bool) -> tf.Tensor:
    """Return texts with a space between any two tokens: string [B] → string [B]."""
    texts = normalize(texts, lowercase)
    if lines:
        texts = tf.strings.regex_replace(texts, "\n", f" {NEWLINE.decode()} ")
    texts = tf.strings.regex_replace(texts, _SEPARATOR, " ")
    texts = tf.strings.regex_replace(texts, "’", "'")
    return separate_tokens(texts, " ")
