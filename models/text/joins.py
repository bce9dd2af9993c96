"""How word tokens join: by a rule of their characters, and by marks where a text differs from it.

A space is between two tokens unless the rule joins them. Where a text differs, one of the two tokens has a
mark, as in the joiner annotation of the OpenNMT Tokenizer: `JOINED` where there is no space in spite of the
rule, `SPACED` where there is one. The token with the mark is the one that is less of a word, so that words
keep one form: `well-known` is `well` `￭-￭` `known`.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.text.invisible import INVISIBLE, SYMBOL
from models.text.patterns import (
    APOSTROPHE,
    EAST_ASIAN,
    ESCAPE,
    SOUTH_EAST_ASIAN,
    WORD_CHARACTER,
)
from models.text.tokens import NEWLINE

JOINED = "￭"
SPACED = "▁"
"""Inside a token, with an invisible character next to it: a space."""
_BREAK = NEWLINE.decode()
# Names of the characters of a text that have another meaning in a token. That of ESCAPE is replaced first
# and restored last.
_NAMES = {ESCAPE: "o", JOINED: "j", SPACED: "s", _BREAK: "n", "\x00": "0"}

_BEFORE = rf"[{INVISIBLE}{SPACED}]*"
_NEAR = rf"[\p{{M}}{INVISIBLE}{SPACED}]*"
# No space before them, and no space after them.
_CLOSES = (
    r"(?i)(?:[\p{Pe}\p{Pf}.,!?;:%…‰،؛؟۔٪।॥։።፣፤፥፦]|\.\.+"
    rf"|n{APOSTROPHE}t|{APOSTROPHE}(?:s|m|d|ll|re|ve))"
)
_OPENS = r"[\p{Ps}\p{Pi}\p{Sc}¿¡]"
# Letters and signs of East Asia, and the syllable marks of Tibetan: no space on both sides.
_SOLID = (
    rf"[{EAST_ASIAN}\p{{Bopomofo}}\x{{F0B}}\x{{F0C}}\x{{3001}}-\x{{303F}}\x{{3099}}-\x{{30FF}}"
    r"\x{FE30}-\x{FE4F}\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF20}\x{FF3B}-\x{FF40}\x{FF5B}-\x{FF65}\x{FFE0}-\x{FFE6}]"
)


class _Kinds(NamedTuple):
    """What the joins of tokens depend on: [N] each."""

    closes: tf.Tensor
    """No space before it."""
    opens: tf.Tensor
    """No space after it."""
    begins: tf.Tensor
    """With a letter of a script of South East Asia; such letters join each other."""
    ends: tf.Tensor
    symbol: tf.Tensor
    """A symbol such as an emoji; symbols join each other."""
    break_begins: tf.Tensor
    """Begins with a line break."""
    break_ends: tf.Tensor
    rank: tf.Tensor
    """0: sign, 1: letter of a script without spaces between words, 2: word."""


def _kinds(words: tf.Tensor) -> _Kinds:
    def match(pattern: str) -> tf.Tensor:
        return tf.strings.regex_full_match(words, pattern)

    break_begins, break_ends = match(rf"{_BREAK}\C*"), match(rf"\C*{_BREAK}")
    begins = match(rf"{_BEFORE}[{SOUTH_EAST_ASIAN}]\C*")
    unspaced = begins | match(rf"{_BEFORE}[{EAST_ASIAN}]\C*")
    return _Kinds(
        closes=break_begins | match(rf"{_BEFORE}{_CLOSES}{_NEAR}") | match(rf"{_BEFORE}{_SOLID}\C*"),
        opens=break_ends | match(rf"{_BEFORE}{_OPENS}{_NEAR}") | match(rf"\C*{_SOLID}{_NEAR}"),
        begins=begins,
        ends=match(rf"\C*[{SOUTH_EAST_ASIAN}]{_NEAR}"),
        symbol=match(rf"{_BEFORE}(?:{SYMBOL})\C*"),
        break_begins=break_begins,
        break_ends=break_ends,
        rank=tf.where(match(rf"{_BEFORE}{WORD_CHARACTER}\C*"), 2, tf.cast(unspaced, tf.int32)),
    )


def _joined(kinds: _Kinds, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return whether the rule joins tokens: bool [N].

    Args:
        kinds: of distinct tokens.
        left: int32 [N], which of them is the first of two.
        right: int32 [N], which is the second.
    """
    either = tf.gather(kinds.opens, left) | tf.gather(kinds.closes, right)
    alike = tf.gather(kinds.ends, left) & tf.gather(kinds.begins, right)
    alike |= tf.gather(kinds.symbol, left) & tf.gather(kinds.symbol, right)
    same_sign = tf.equal(left, right) & tf.equal(tf.gather(kinds.rank, left), 0)
    return either | alike | same_sign


def escape(texts: tf.Tensor) -> tf.Tensor:
    """Replace the characters of texts that have another meaning in tokens, and U+0000: string [B] → [B]."""

    def escaped() -> tf.Tensor:
        found = texts
        for character, name in _NAMES.items():
            found = tf.strings.regex_replace(found, character, ESCAPE + name)
        return found

    special = tf.strings.regex_full_match(texts, rf"\C*[{''.join(_NAMES)}]\C*")  # in few texts
    return tf.cond(tf.reduce_any(special), escaped, lambda: tf.identity(texts))


def unescape(words: tf.Tensor) -> tf.Tensor:
    """Return the text of tokens without marks, undoing `escape`: strings of any shape."""
    words = tf.strings.regex_replace(words, SPACED, " ")
    words = tf.strings.regex_replace(words, _BREAK, "\n")
    for character, name in reversed(_NAMES.items()):
        words = tf.strings.regex_replace(words, ESCAPE + name, character)
    return words


def mark_joins(words: tf.Tensor, place: tf.Tensor, rows: tf.Tensor, spaced: tf.Tensor) -> tf.Tensor:
    """Add marks to words where the text differs from the rule.

    Args:
        words: string [U], words after `escape`.
        place: int32 [N], the word at each position of all texts.
        rows: int64 [N], the text of each position.
        spaced: bool [N], whether white space precedes it.

    Returns:
        string [N]. A line break never has a mark.
    """
    distinct, own = tf.unique(words)
    place = tf.gather(own, place)
    left, right = place[:-1], place[1:]
    kinds = _kinds(distinct)
    is_break = tf.gather(kinds.break_ends, left) | tf.gather(kinds.break_begins, right)
    differs = tf.equal(_joined(kinds, left, right), spaced[1:]) & tf.equal(rows[1:], rows[:-1]) & ~is_break
    marks = tf.where(differs, tf.where(spaced[1:], SPACED, JOINED), "")
    on_left = tf.gather(kinds.rank, left) < tf.gather(kinds.rank, right)
    count = tf.size(place)
    before = tf.concat([[""], tf.where(on_left, "", marks)], 0)[:count]
    after = tf.concat([tf.where(on_left, marks, ""), [""]], 0)[:count]
    return tf.strings.join([before, tf.gather(distinct, place), after])


def read_joins(
    pieces: tf.RaggedTensor, *, marked: bool, previous: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the words of tokens without marks, and whether a space precedes each.

    Args:
        pieces: string [B, (tokens)], N in all.
        marked: whether tokens have marks.
        previous: string [B], the token before the first one of each row; "" or None: there is none.

    Returns:
        string [N], to be restored by `unescape` if `marked`; bool [N].
    """
    flat, rows = pieces.flat_values, pieces.value_rowids()
    count = tf.size(flat)
    previous = tf.fill(tf.cast(pieces.nrows(), tf.int32)[tf.newaxis], "") if previous is None else previous
    distinct, place = tf.unique(tf.concat([flat, previous], 0))
    first = tf.concat([[True], tf.not_equal(rows[1:], rows[:-1])], 0)[:count]
    right = place[:count]
    left = tf.where(first, tf.gather(place[count:], rows), tf.concat([[0], right[:-1]], 0)[:count])
    if not marked:
        return flat, ~_joined(_kinds(distinct), left, right)
    words = tf.strings.regex_replace(distinct, rf"^(?:{JOINED}|{SPACED})(\C)", r"\1")
    words = tf.strings.regex_replace(words, rf"(\C)(?:{JOINED}|{SPACED})$", r"\1")
    words, own = tf.unique(words)
    space = ~_joined(_kinds(words), tf.gather(own, left), tf.gather(own, right))
    for mark, is_spaced in ((JOINED, False), (SPACED, True)):
        begins = tf.gather(tf.strings.regex_full_match(distinct, rf"{mark}\C+"), right)
        ends = tf.gather(tf.strings.regex_full_match(distinct, rf"\C+{mark}"), left)
        space = tf.where(begins | ends, is_spaced, space)
    return tf.gather(words, tf.gather(own, right)), space


def prefers_space(words: tf.Tensor) -> tf.Tensor:
    """Return whether the rule has a space between each of these tokens and a word after it."""
    return ~_kinds(words).opens


def is_sign(words: tf.Tensor) -> tf.Tensor:
    """Return whether tokens have the mark of their join with a word after them."""
    return _kinds(words).rank < 2
