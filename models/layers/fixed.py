"""Weights that are computed once, before training, and tables of features that are looked up by key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

NEVER = np.iinfo(np.int64).max
"""The key of an entry of a table that has no feature."""


def add_fixed(
    layer: keras.Layer, name: str, shape: tuple[int, ...], value: float = 0, dtype: str = "float32"
) -> Any:
    """Add a weight that no gradient changes.

    Args:
        layer: the layer or model.
        name: of the weight.
        shape: of the weight.
        value: all its values at first.
        dtype: in which the weight stays in mixed precision, too.
    """
    initializer = keras.initializers.Constant(value)
    return layer.add_weight(
        name=name, shape=shape, dtype=dtype, initializer=initializer, trainable=False, autocast=False
    )


def weighted_sum(weights: Any, scores: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the sum of float32 [..., C] scores of several models, times float32 weights, one for each."""
    values = tf.unstack(tf.convert_to_tensor(weights), num=len(scores))
    return tf.add_n([weight * own for weight, own in zip(values, scores, strict=True)])


def find_keys(table: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the places of keys in a table, and whether they are there.

    Args:
        table: int64 [N], ascending, with N at least 1.
        keys: int64 [...].

    Returns:
        int64 [...], a place in the table whether the key is there or not; and bool [...].
    """
    found = tf.searchsorted(table, tf.reshape(keys, [-1]), out_type=tf.int64)
    places = tf.reshape(tf.minimum(found, tf.shape(table, tf.int64)[0] - 1), tf.shape(keys))
    return places, tf.gather(table, places) == keys
