from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.kernels.dense import FEW_OUTPUTS, dense


@pytest.mark.parametrize("units", [1, FEW_OUTPUTS, FEW_OUTPUTS + 1])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_dense_layer_is_keras_own(units: int, rows: int) -> None:
    """With few and with many outputs the result is that of the Keras layer."""
    layer = keras.layers.Dense(units, bias_initializer="normal")
    inputs = tf.random.stateless_normal([rows, 7], [1, 2])
    layer.build(inputs.shape)
    np.testing.assert_allclose(dense(layer, inputs), layer(inputs), rtol=1e-5, atol=1e-6)
