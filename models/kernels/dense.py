"""Dense layers with few outputs."""

from __future__ import annotations

import keras
import tensorflow as tf

FEW_OUTPUTS = 4
"""Maximum number of units for which a product and a sum are faster for one row than oneDNN's product of
matrices, whose call alone takes 20 µs."""


def dense(layer: keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
    """Run a dense layer that has a bias and no activation: float [B, D] → [B, units].

    With few units the result is float32, whatever the layer's dtype.
    """
    if layer.units > FEW_OUTPUTS:
        return layer(inputs)
    inputs, kernel, bias = (tf.cast(value, tf.float32) for value in (inputs, layer.kernel, layer.bias))
    return tf.reduce_sum(inputs[:, :, tf.newaxis] * kernel, axis=1) + bias
