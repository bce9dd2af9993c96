"""Texts as visible characters, and tokens from a decision at each of these characters.

A *visible* character is any but a format character or a variation selector: these never make or split a
token. White space and control characters are visible spaces.

The decision of a character is whether a token ends after it; of a space, whether it separates tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.text.code_points import (
    INVISIBLE_CLASS,
    JOINER_CLASS,
    MARK_CLASSES,
    MODIFIER_CLASS,
    REGIONAL_CLASS,
    SPACE_CLASS,
    CodePointTable,
)
from models.text.locate import Located
from models.text.normalize import normalize

SPACE = ord(" ")
STRIDE = 136
"""Number of characters that a window decides on. Most sentences are one window then."""
TRAINING_STRIDE = 56
"""The same in training, where a step of a recurrent layer takes longer than its rows."""
CONTEXT = 12
"""Number of characters that a window also sees at either side."""


class Visible(NamedTuple):
    """The visible characters of texts, one text after the other: [N]."""

    code_points: tf.Tensor
    """int32; a space for every kind of space."""
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

    A window is a function of its own text only.

    Args:
        lengths: int32 [B], characters of each text.
        stride: characters that a window decides on.
    """
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
    is_space = tf.equal(visible.code_points, SPACE)
    true = tf.constant([True])
    total = tf.size(is_space)
    ends = tf.cumsum(visible.lengths)
    last = _marked(ends - 1, visible.lengths, total)
    first = _marked(ends - visible.lengths, visible.lengths, total)
    space_before = tf.concat([true, is_space[:-1]], 0) | first
    space_after = tf.concat([is_space[1:], true], 0) | last
    separates = is_space & (decisions | space_before | space_after)
    separates_before = tf.concat([true, separates[:-1]], 0) | first
    separates_after = tf.concat([separates[1:], true], 0) | last
    inner = decisions & ~is_space & ~space_after & ~visible.joined & ~_is_extended(visible.classes)
    end = ~separates & (separates_after | inner)
    begin = ~separates & (separates_before | tf.concat([true, end[:-1]], 0))
    return begin, end


def _marked(places: tf.Tensor, lengths: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Return a bool [total] that is true at places of texts that are not empty."""
    places = tf.boolean_mask(places, lengths > 0)[:, tf.newaxis]
    return tf.scatter_nd(places, tf.ones_like(places[:, 0]), [total]) > 0


def _is_extended(classes: tf.Tensor) -> tf.Tensor:
    """Return whether the next character belongs to each character: bool [N]."""
    following = tf.concat([classes[1:], [SPACE_CLASS]], 0)
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
    row = tf.cast(tf.gather(rows, seen), tf.int32)
    lengths = tf.math.bincount(row, minlength=tf.shape(texts)[0], maxlength=tf.shape(texts)[0])
    # A joiner may follow a variation selector.
    joiners = tf.cumsum(tf.cast(is_joiner, tf.int32))
    until = tf.concat([tf.gather(joiners, seen[1:]), [0]], 0)
    return Characters(points, seen, Visible(own, classes, lengths, until > tf.gather(joiners, seen)))


def located_tokens(characters: Characters, begin: tf.Tensor, end: tf.Tensor) -> Located:
    """Return tokens and their positions.

    Invisible characters belong to the token before them, unless a space or the start of the text is between.

    Args:
        characters: of texts.
        begin: bool [N], as `token_edges` returns it.
        end: bool [N]
    """
    flat, rows = characters.all.flat_values, characters.all.value_rowids()
    row_starts, row_limits = characters.all.row_starts(), characters.all.row_limits()
    following = tf.concat([characters.seen[1:], tf.shape(flat, tf.int64)], 0)
    starts = tf.boolean_mask(characters.seen, begin)
    row = tf.gather(rows, starts)
    ends = tf.minimum(tf.boolean_mask(following, end), tf.gather(row_limits, row))
    pieces = tf.gather(flat, tf.ragged.range(starts, ends))
    before = tf.gather(row_starts, row)
    splits = tf.RaggedTensor.from_value_rowids(starts, row, nrows=characters.all.nrows(), validate=False)
    return Located(
        splits.with_flat_values(tf.strings.unicode_encode(pieces, "UTF-8")),
        splits.with_flat_values(tf.cast(starts - before, tf.int32)),
        splits.with_flat_values(tf.cast(ends - before, tf.int32)),
    )
