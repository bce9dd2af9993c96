from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.dropout import Dropout

ONES = tf.ones([300, 41, 7])
"""86,100 elements: the share of dropped ones is within 0.007 of the rate, four standard deviations."""


def dropped(rate: float, inputs: tf.Tensor = ONES) -> np.ndarray:
    """Return what is left in training of inputs."""
    keras.utils.set_random_seed(2)
    return np.asarray(Dropout(rate)(inputs, training=True))


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.3, 0.1, 0.999])
def test_rate_and_scale(rate: float) -> None:
    """The share of zeros is the rate, and what is left is scaled so that the expectation stays."""
    found = dropped(rate)
    kept = found[found != 0]

    assert abs((found == 0).mean() - rate) < 0.007
    assert np.all(kept == kept[0])
    assert kept[0] == pytest.approx(1 / (1 - rate), rel=0.01 if rate == 0.999 else 1e-4)


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_elements_are_independent(rate: float) -> None:
    """Neighbours in each direction, some of which share a random number, are independent."""
    zero = dropped(rate, tf.ones([400, 50, 8])) == 0

    for axis in range(3):
        for step in (1, 2, 3, 4):
            first, second = np.split(zero, [zero.shape[axis] - step], axis)[0], np.roll(zero, -step, axis)
            both = first & np.take(second, np.arange(first.shape[axis]), axis)
            assert abs(both.mean() - rate**2) < 0.007
        others = tuple(other for other in range(3) if other != axis)
        assert np.abs(zero.mean(axis=others) - rate).max() < 0.12


def test_state_of_the_seed_generator_decides() -> None:
    """Calls differ; from the same state the same elements are dropped, as resuming needs."""
    keras.utils.set_random_seed(3)
    layer = Dropout(0.3)
    call = tf.function(lambda: layer(ONES, training=True))
    (state,) = layer.variables
    before = state.numpy()
    first, second = call().numpy(), call().numpy()
    state.assign(before)

    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(call(), first)


def test_gradient() -> None:
    """The gradient passes where an element was kept, with its scale."""
    layer = Dropout(0.3)
    with tf.GradientTape() as tape:
        tape.watch(ONES)
        found = layer(ONES, training=True)

    np.testing.assert_array_equal(tape.gradient(found, ONES), found)


def test_nothing_is_dropped() -> None:
    """Out of training, or with a rate of 0, the input passes through; a rate of 1 drops all."""
    np.testing.assert_array_equal(Dropout(0.3)(ONES), ONES)
    np.testing.assert_array_equal(dropped(0.0), ONES)
    assert not dropped(1.0).any()


def test_noise_shape() -> None:
    """A noise shape drops whole vectors, as in Keras."""
    found = Dropout(0.5, noise_shape=(None, None, 1))(ONES, training=True).numpy()

    assert np.all(found == found[..., :1])
    assert set(np.unique(found)) == {0.0, 2.0}


def test_lower_precision() -> None:
    """The output has the dtype of a mixed-precision layer."""
    found = Dropout(0.5, dtype="mixed_bfloat16")(ONES, training=True)

    assert found.dtype == tf.bfloat16
    assert set(np.unique(tf.cast(found, tf.float32))) == {0.0, 2.0}


def test_locked() -> None:
    """All steps of a row have the same features dropped, other rows have others; rate and scale hold."""
    keras.utils.set_random_seed(2)
    layer = Dropout(0.3, locked=True)
    found = layer(tf.ones([500, 3, 7]), training=True).numpy()

    assert np.all(found == found[:, :1])
    assert abs((found[:, 0] == 0).mean() - 0.3) < 0.035
    assert found.max() == pytest.approx(1 / 0.7, rel=1e-4)
    assert len({row.tobytes() for row in found[:, 0] == 0}) > 50


def test_locked_without_steps() -> None:
    """Vectors of rows have random elements dropped, as without it; it is part of the configuration."""
    keras.utils.set_random_seed(2)
    layer = Dropout(0.5, locked=True)

    assert np.array_equal(layer(ONES[:, 0], training=True), dropped(0.5, ONES[:, 0]))
    assert Dropout.from_config(layer.get_config()).locked
