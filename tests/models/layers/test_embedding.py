from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.embedding import Embedding


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("shape", [[2, 3], [0, 1], [4]])
def test_tokens_are_looked_up_as_keras_does(shape: list[int], policy: str) -> None:
    """Vectors, their dtype and their gradients are those of the Keras layer."""
    own, stock = Embedding(6, 4, dtype=policy), keras.layers.Embedding(6, 4, dtype=policy)
    for layer in (own, stock):
        layer.build((None,))
    stock.set_weights(own.get_weights())
    ids = tf.random.stateless_uniform(shape, [1, 2], 0, 6, tf.int32)
    gradients = []
    for layer in (own, stock):
        with tf.GradientTape() as tape:
            found = layer(ids)
            loss = tf.reduce_sum(tf.cast(found, tf.float32) ** 2)
        gradients.append(tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value)))
    assert own(ids).dtype == stock(ids).dtype
    np.testing.assert_array_equal(own(ids), stock(ids))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-6)


def test_an_unknown_id_is_refused() -> None:
    """An id outside of the table is an error."""
    layer = Embedding(6, 4)
    for outside in (6, -1):
        with pytest.raises(tf.errors.InvalidArgumentError):
            layer(tf.constant([outside]))
