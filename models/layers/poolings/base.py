"""What the program must know of a pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class PoolingFunction:
    """How the outputs of all time steps become one vector."""

    pool: Callable[[Any, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    """Keras layer, outputs float [B, T, D], final output [B, D], lengths int32 [B] → [B, `output_size(D)`].

    Steps beyond a row's length must not change the result.
    """
    output_size: Callable[[int], int] = lambda size: size
    """The size of the vector for outputs of a size."""
    create: Callable[[Any], None] = _nothing
    """Add sublayers to a new Keras layer."""
    build: Callable[[Any, tuple[int | None, ...]], None] = _nothing
    """Create the weights of a Keras layer for outputs of a shape (B, T, D)."""


def real_steps(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return whether each step is real: [B, T, D], lengths [B] → bool [B, T, 1]."""
    return tf.expand_dims(tf.sequence_mask(lengths, tf.shape(sequences)[1]), -1)


def reduce_real(
    reduce: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], sequences: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
    """Reduce the real steps of each row in one pass, without a masked copy of the sequences.

    Args:
        reduce: such as `tf.math.segment_max`. A row's real steps are a segment, and its padding the next one.
        sequences: float [B, T, D], right-padded.
        lengths: int32 [B], each from 1 to T.

    Returns:
        float [B, D].
    """
    size = tf.shape(sequences)
    padding = tf.cast(tf.range(size[1]) >= tf.expand_dims(lengths, -1), tf.int32)
    segments = 2 * tf.expand_dims(tf.range(size[0]), -1) + padding
    steps = tf.reshape(sequences, tf.stack([-1, size[2]]))
    reduced = reduce(steps, tf.reshape(segments, [-1]))[::2]
    return tf.ensure_shape(reduced, [sequences.shape[0], sequences.shape[2]])
