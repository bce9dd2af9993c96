"""Tokenization in the graph: the one function that training, prediction and the SavedModel share.

It uses only core TensorFlow string operations, so that a SavedModel needs no extra library.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.text.invisible import INVISIBLE, without_invisible
from models.text.joins import SPACED, escape, mark_joins
from models.text.normalize import lower, normalize
from models.text.patterns import MARKUP, WHITE_SPACE, WORD_RULES, WordRules, separate_tokens
from models.text.subwords import SubwordTokenizer
from models.text.tokens import NEWLINE, TokenKind, Truncation

_BOUNDARY = "\n"  # after each token: other white space than spaces is gone then


def tokenize(
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
) -> tf.RaggedTensor:
    """Split texts into tokens.

    `word`: words, numbers and signs as a person would count them; English contractions apart
    (`don't` → `do` `n't`), a typographic apostrophe replaced by a plain one, markup such as `<br />`
    is a separator, in scripts without spaces each letter is a token. Invisible characters are dropped,
    except where they carry meaning. With `joins` nothing is dropped or replaced but white space, and
    tokens have the marks of `models.text.joins`. `char`: Unicode code points.
    `byte`: the bytes, unchanged. `subword`: pieces of words, as learned from a training text.

    Invalid UTF-8 is replaced by U+FFFD, except with `byte`.

    Args:
        texts: string [B].
        tokens: the kind of token.
        lowercase: whether case is dropped (for bytes: of ASCII letters only).
        max_length: maximum number of tokens of a text; 0: no limit.
        truncate: the part that is removed from a longer text: its `end`, or its `middle` (the verdict of a
            review is often at its end).
        subwords: the tokenizer of `subword` tokens.
        lines: whether a line break is a token, `NEWLINE`, of `word` tokens too.
        joins: whether `word` tokens keep how they join, so that `detokenize` returns the text.
        rules: version of the rules of `word` tokens.

    Returns:
        string [B, (tokens)]; an empty text has no tokens.
    """
    if joins and rules == 1:
        raise ValueError("joins need rules 2, got rules 1")
    if tokens == "word" and joins:
        words, rows, lengths = _joined_words(texts, lowercase, lines)
        position = tf.range(tf.size(rows, tf.int64)) - tf.gather(tf.cumsum(lengths, exclusive=True), rows)
        return _truncated(words, rows, position, lengths, max_length, truncate)
    if tokens == "word":
        # What `tf.strings.split` does, but for a row's length, for which it takes ten operations.
        split = tf.raw_ops.StringSplitV2(input=_words(texts, lowercase, lines, rules), sep="")
        rows, position = tf.unstack(split.indices, axis=1)
        lengths = _row_lengths(rows, split.shape[0])
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


def _truncated(
    flat: tf.Tensor,
    rows: tf.Tensor,
    position: tf.Tensor,
    lengths: tf.Tensor,
    max_length: int,
    truncate: Truncation,
) -> tf.RaggedTensor:
    """Return at most `max_length` tokens of each row, from all tokens, their rows and positions there.

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


def _words(texts: tf.Tensor, lowercase: bool, lines: bool, rules: WordRules) -> tf.Tensor:
    """Return texts with a space between any two tokens: string [B] → string [B]."""
    texts = normalize(texts, lowercase)
    if lines:
        texts = tf.strings.regex_replace(texts, "\n", f" {NEWLINE.decode()} ")
    also = r"\x{FEFF}" if rules == 1 else ""
    texts = tf.strings.regex_replace(texts, rf"{MARKUP}|[\p{{Z}}\p{{Cc}}{also}]+", " ")
    texts = separate_tokens(tf.strings.regex_replace(texts, "’", "'"), " ", rules=rules)
    return texts if rules == 1 else without_invisible(texts)


def _joined_words(texts: tf.Tensor, lowercase: bool, lines: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return all words of texts, each with its joins, their rows, and their numbers in each row."""
    texts = escape(normalize(texts, lowercase=False))
    if lowercase:
        texts = lower(texts)
    if lines:
        texts = tf.strings.regex_replace(texts, "\n", f" {NEWLINE.decode()} ")
    texts = tf.strings.regex_replace(texts, rf"[{WHITE_SPACE}]+", " ")
    texts = separate_tokens(texts, _BOUNDARY, whole=True)
    # Invisible characters at the end of a text, which no token follows, belong to the last one.
    texts = tf.strings.regex_replace(texts, rf"{_BOUNDARY}+((?: ?[{INVISIBLE}])+ ?)$", rf"\1{_BOUNDARY}")
    split = tf.raw_ops.StringSplitV2(input=texts, sep=_BOUNDARY)
    distinct, place = tf.unique(split.values)
    words = tf.strings.regex_replace(tf.strings.strip(distinct), " ", SPACED)
    real = tf.gather(~tf.strings.regex_full_match(words, rf"[{INVISIBLE}{SPACED}]*"), place)
    spaced = tf.gather(tf.strings.substr(distinct, 0, 1) == " ", place)
    rows, place, spaced = (tf.boolean_mask(each, real) for each in (split.indices[:, 0], place, spaced))
    words = mark_joins(words, place, rows, spaced)
    return words, rows, _row_lengths(rows, split.shape[0])


def _row_lengths(rows: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.DenseBincount(input=rows, size=number, weights=tf.zeros([0], tf.int64))
