"""Truncation of texts at stop strings."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def truncate_at(texts: tf.Tensor, stops: Sequence[str] | tf.Tensor) -> tf.Tensor:
    r"""Truncate texts before the first occurrence of any of the stops.

    Args:
        texts: string [B], any bytes.
        stops: string [K], UTF-8; an empty one stops nothing.

    Returns:
        string [B]. `truncate_at(["one\n\ntwo"], ["\n\n"]) -> ["one"]`
    """
    stops = tf.reshape(tf.convert_to_tensor(stops, tf.string), [-1])
    stops = tf.boolean_mask(stops, tf.strings.length(stops) > 0)
    literals = tf.strings.regex_replace(stops, r"([!-/:-@\[-`{-~])", r"\\\1")
    # RE2 takes the leftmost match of all; \C is any byte, of invalid UTF-8 too.
    pattern = tf.strings.join(["(?:", tf.strings.reduce_join(literals, separator="|"), r")\C*"])
    return tf.cond(
        tf.size(stops) > 0,
        lambda: tf.strings.regex_replace(texts, pattern, "", replace_global=False),
        lambda: tf.identity(texts),
    )
