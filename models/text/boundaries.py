"""Texts as visible characters, and tokens from a decision at each of these characters.

A *visible* character is any but those of `models.text.invisible`: these never make or split a token.
Spaces, and control characters as line breaks, are visible.

The decision of a character is whether a token ends after it; of a space, whether it separates tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from models.text.code_points import (
    BREAK_CLASS,
    INVISIBLE_CLASS,
    JOINER_CLASS,
    MARK_CLASSES,
    MODIFIER_CLASS,
    REGIONAL_CLASS,
    SPACE_CLASS,
    CodePointTable,
)
from models.text.invisible import ATTACHED, TAGS, ranges
from models.text.locate import Located
from models.text.normalize import normalize

SPACE, BREAK = ord(" "), ord("\n")
STRIDE = 136
"""Number of characters that a window decides on. Most sentences are one window then."""
TRAINING_STRIDE = 56
"""The same in training, where a step of a recurrent layer takes longer than its rows."""
CONTEXT = 12
"""Number of characters that a window also sees at either side."""


class Visible(NamedTuple):
    """The visible characters of texts, one text after the other: [N]."""

    code_points: tf.Tensor
    """int32; `SPACE` for every kind of space, `BREAK` for line breaks and other control characters."""
    classes: tf.Tensor
    """int32"""
    lengths: tf.Tensor
    """int32 [B], visible characters of each text."""
    joined: tf.Tensor
    """bool [N], whether a zero-width joiner is between a character and the next one."""


class Windows(NamedTuple):
    """Overlapping pieces of texts, so that the time for a long text is linear and its pieces run at once."""

    places: tf.Tensor
    """int32 [W, S], the position among all characters; N for padding."""
    lengths: tf.Tensor
    """int32 [W], at least 1."""
    decided: tf.Tensor
    """int32 [N, 2], the window and the position in it that decide on a character."""


def windows(lengths: tf.Tensor, stride: int = STRIDE) -> Windows:
    """Cut texts into windows, at least one for each text.

    The windows of a text depend on no other text.

    Args:
        lengths: int32 [B], characters of each text.
        stride: characters that a window decides on.
    """
    lengths = tf.pad(lengths, [[0, tf.cast(tf.equal(tf.size(lengths), 0), tf.int32)]])  # for no text at all
    count = tf.maximum((lengths - CONTEXT + stride - 1) // stride, 1)
    row = tf.repeat(tf.range(tf.size(lengths)), count)
    number = tf.range(tf.size(row)) - tf.gather(tf.cumsum(count, exclusive=True), row)
    begin = tf.maximum(number * stride - CONTEXT, 0)
    end = tf.minimum((number + 1) * stride + CONTEXT, tf.gather(lengths, row))
    width = end - begin
    total = tf.reduce_sum(lengths)
    starts = tf.cumsum(lengths, exclusive=True)
    steps = tf.range(tf.maximum(tf.reduce_max(width), 1))
    places = (tf.gather(starts, row) + begin)[:, tf.newaxis] + steps
    places = tf.where(steps < width[:, tf.newaxis], places, total)
    text = tf.repeat(tf.range(tf.size(lengths)), lengths)
    position = tf.range(total) - tf.gather(starts, text)
    own = tf.minimum(position // stride, tf.gather(count, text) - 1)
    window = tf.gather(tf.cumsum(count, exclusive=True), text) + own
    return Windows(
        places, tf.maximum(width, 1), tf.stack([window, position - tf.gather(begin, window)], axis=1)
    )


def token_edges(visible: Visible, decisions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the characters that begin a token, and those that end one.

    White space separates tokens, except for a single space between two characters if its decision says so.
    A token does not end before a combining mark, a skin tone or a zero-width joiner, nor in a flag.

    Args:
        visible: characters of texts.
        decisions: bool [N], see above.

    Returns:
        bool [N] twice, with equally many true values: the n-th token is between the n-th ones.
    """
    is_break = tf.equal(visible.classes, BREAK_CLASS)
    is_space = is_break | tf.equal(visible.classes, SPACE_CLASS)
    total = tf.size(is_space)
    ends = tf.cumsum(visible.lengths)
    last = _marked(ends - 1, visible.lengths, total)
    first = _marked(ends - visible.lengths, visible.lengths, total)
    space_before = _previous(is_space, True) | first
    space_after = _next(is_space, True) | last
    separates = is_space & (is_break | decisions | space_before | space_after)
    separates_before = _previous(separates, True) | first
    separates_after = _next(separates, True) | last
    inner = decisions & ~is_space & ~space_after & ~visible.joined & ~_is_extended(visible.classes)
    end = ~separates & (separates_after | inner)
    begin = ~separates & (separates_before | _previous(end, True))
    return begin, end


def _next(values: tf.Tensor, last: Any) -> tf.Tensor:
    """Return the value after each one; `last` after the last one."""
    return tf.concat([values, [last]], 0)[1:]


def _previous(values: tf.Tensor, first: Any) -> tf.Tensor:
    """Return the value before each one; `first` before the first one."""
    return tf.concat([[first], values], 0)[:-1]


def _marked(places: tf.Tensor, lengths: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Return a bool [total] that is true at places of texts that are not empty."""
    places = tf.boolean_mask(places, lengths > 0)[:, tf.newaxis]
    return tf.scatter_nd(places, tf.ones_like(places[:, 0]), [total]) > 0


def _is_extended(classes: tf.Tensor) -> tf.Tensor:
    """Return whether the next character belongs to each character: bool [N]."""
    following = _next(classes, SPACE_CLASS)
    extended = tf.equal(following, MODIFIER_CLASS)
    for mark in MARK_CLASSES:
        extended |= tf.equal(following, mark)
    is_regional = tf.equal(classes, REGIONAL_CLASS)
    # The position within a run of regional indicators: the first one of each pair is extended.
    run = tf.cumsum(tf.cast(~is_regional, tf.int32))
    place = tf.range(tf.size(classes))
    start = tf.math.unsorted_segment_min(
        tf.where(is_regional, place, tf.size(classes)), run, tf.size(classes) + 1
    )
    is_first = tf.equal((place - tf.gather(start, run)) % 2, 0)
    return extended | (is_regional & is_first & tf.equal(following, REGIONAL_CLASS))


class Characters(NamedTuple):
    """The characters of texts: all of them, and which of them are visible."""

    all: tf.RaggedTensor
    """int32 [B, (characters)], code points of valid text."""
    seen: tf.Tensor
    """int64 [N], the position of each visible character among all characters of all texts."""
    visible: Visible


def read_characters(texts: tf.Tensor, class_of: CodePointTable) -> Characters:
    """Return the characters of texts.

    Args:
        texts: string [B]; invalid UTF-8 is replaced as by `normalize`.
        class_of: `models.text.code_points.class_table`.
    """
    points = tf.strings.unicode_decode(normalize(texts, lowercase=False), "UTF-8")
    flat, rows = points.flat_values, points.value_rowids()
    classes = class_of(flat)
    is_joiner = tf.equal(classes, JOINER_CLASS)
    seen = tf.where(~(is_joiner | tf.equal(classes, INVISIBLE_CLASS)))[:, 0]
    classes = tf.gather(classes, seen)
    own = tf.where(tf.equal(classes, SPACE_CLASS), SPACE, tf.gather(flat, seen))
    own = tf.where(tf.equal(classes, BREAK_CLASS), BREAK, own)
    row = tf.cast(tf.gather(rows, seen), tf.int32)
    lengths = tf.math.bincount(row, minlength=tf.shape(texts)[0], maxlength=tf.shape(texts)[0])
    # A joiner may follow a variation selector.
    joiners = tf.cumsum(tf.cast(is_joiner, tf.int32))
    before = tf.gather(joiners, seen)
    return Characters(points, seen, Visible(own, classes, lengths, _next(before, 0) > before))


def located_tokens(characters: Characters, begin: tf.Tensor, end: tf.Tensor) -> Located:
    """Return tokens and their positions.

    Invisible characters inside a token are kept, and so are variation selectors and tags after one, which
    belong to its last character. Others between tokens belong to none.

    Args:
        characters: of texts.
        begin: bool [N], as `token_edges` returns it.
        end: bool [N]
    """
    flat, rows = characters.all.flat_values, characters.all.value_rowids()
    starts, lasts = (tf.boolean_mask(characters.seen, edge) for edge in (begin, end))
    row = tf.gather(rows, starts)
    is_own = tf.ones_like(flat, tf.bool)
    for first, last in ranges(ATTACHED + TAGS):
        is_own &= (flat < first) | (flat > last)
    own = tf.concat([tf.where(is_own)[:, 0], tf.shape(flat, tf.int64)], 0)
    ends = tf.gather(own, tf.gather(tf.cumsum(tf.cast(is_own, tf.int32)), lasts))
    ends = tf.minimum(ends, tf.gather(characters.all.row_limits(), row))
    pieces = tf.gather(flat, tf.ragged.range(starts, ends))
    before = tf.gather(characters.all.row_starts(), row)
    splits = tf.RaggedTensor.from_value_rowids(starts, row, nrows=characters.all.nrows(), validate=False)
    return Located(
        splits.with_flat_values(tf.strings.unicode_encode(pieces, "UTF-8")),
        splits.with_flat_values(tf.cast(starts - before, tf.int32)),
        splits.with_flat_values(tf.cast(ends - before, tf.int32)),
    )
