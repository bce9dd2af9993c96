"""Units of a recurrent layer, chosen to be shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def states_of(units: Sequence[int], sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the output of some units after each token.

    Args:
        units: indices below D, N of them.
        sequences: float [B, T, D], of a recurrent layer.
        lengths: int32 [B], each from 1 to T.

    Returns:
        float32 [B, T, N]; 0 on padding.
    """
    chosen = tf.cast(tf.gather(sequences, units, axis=2), tf.float32)
    real = tf.sequence_mask(lengths, tf.shape(sequences)[1])
    return tf.where(real[:, :, tf.newaxis], chosen, 0.0)


def unit_weights(kernel: np.ndarray, size: int) -> np.ndarray:
    """Return how much a dense layer reads of each unit of a recurrent layer.

    It is the norm of the weights of what the pooling makes of the unit: `kernel` has its rows once for each
    pooling, one after the other. `unit_weights([[3.], [0.], [4.], [1.]], 2) -> [5., 1.]`

    Args:
        kernel: float [P · size, C].
        size: of the output of the recurrent layer.

    Returns:
        float [size].
    """
    found: np.ndarray = np.linalg.norm(np.reshape(kernel, (-1, size, np.shape(kernel)[1])), axis=(0, 2))
    return found
