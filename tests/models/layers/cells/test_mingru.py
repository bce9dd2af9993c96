from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.layers.cells import get_cell
from models.layers.cells.mingru import SCAN_STEPS, MinGRU

Array = NDArray[np.float64]

WIDTH = 3
UNITS = 5


def layer(scale: float = 1.5, **options: Any) -> MinGRU:
    """Return a built layer whose weights are all random."""
    made = MinGRU(UNITS, **{"return_sequences": True, "return_state": True, **options})
    made.build((None, None, WIDTH))
    generator = np.random.default_rng(0)
    made.set_weights([generator.normal(scale=scale, size=weight.shape) for weight in made.get_weights()])
    return made


def noise(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(shape[-2]).normal(size=shape), tf.float32)


def expected(made: MinGRU, sequences: Array, state: Array) -> Array:
    """Return the recurrence in float64, step by step: [B, T, D], [B, U] → [B, T, U]."""
    kernel, bias = (weight.astype(np.float64) for weight in made.get_weights())
    outputs = []
    for x in np.moveaxis(sequences.astype(np.float64), 1, 0):
        gate, candidate = np.split(x @ kernel + bias, 2, axis=1)
        z = 1 / (1 + np.exp(-gate))
        g = np.where(candidate >= 0, candidate + 0.5, 1 / (1 + np.exp(-candidate)))
        state = (1 - z) * state + z * g
        outputs.append(state)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("steps", [1, 2, SCAN_STEPS, SCAN_STEPS + 1, 2 * SCAN_STEPS + 3, 2000])
@pytest.mark.parametrize("has_state", [False, True])
def test_recurrence(steps: int, has_state: bool) -> None:
    """The scan gives the states of the recurrence, from zeros and from states of either sign."""
    made = layer()
    sequences = noise(2, steps, WIDTH)
    state = noise(2, UNITS) if has_state else tf.zeros([2, UNITS])
    outputs, last = made(sequences, initial_state=[state] if has_state else None)

    wanted = expected(made, sequences.numpy(), state.numpy())
    np.testing.assert_allclose(outputs, wanted, rtol=3e-4, atol=1e-5)
    np.testing.assert_array_equal(last, outputs[:, -1])


@pytest.mark.parametrize("gate", [-60.0, 60.0])
def test_gates_that_are_open_or_closed(gate: float) -> None:
    """A closed gate keeps the state over 2,000 steps, an open one takes the candidate; nothing overflows."""
    made = layer()
    kernel, bias = made.get_weights()
    kernel[:, :UNITS], bias[:UNITS] = 0, gate
    made.set_weights([kernel, bias])
    sequences, state = noise(2, 2000, WIDTH), noise(2, UNITS)
    outputs, last = made(sequences, initial_state=[state])

    assert np.isfinite(outputs).all()
    if gate < 0:
        np.testing.assert_allclose(last, state, rtol=1e-5)
    else:
        wanted = expected(made, sequences.numpy(), state.numpy())
        np.testing.assert_allclose(outputs, wanted, rtol=1e-3)


def test_gradients_of_long_sequences() -> None:
    """Over 2,000 steps all gradients are finite, and those of the scan are those of the steps."""
    made = layer()
    cell = get_cell("mingru")

    def gradients(steps: int, by_step: bool) -> list[tf.Tensor]:
        sequences, state = noise(2, steps, WIDTH), noise(2, UNITS)
        with tf.GradientTape() as tape:
            tape.watch((sequences, state))
            if by_step:
                last = state
                for x in tf.unstack(sequences, axis=1):
                    (last,) = cell.step(made.cell, x, (last,))
            else:
                _, last = made(sequences, initial_state=[state])
            loss = tf.reduce_sum(last * tf.range(1.0, UNITS + 1))
        found: list[tf.Tensor] = tape.gradient(loss, [sequences, state, *(w.value for w in made.weights)])
        return found

    assert all(np.isfinite(gradient).all() for gradient in gradients(2000, False))
    for got, wanted in zip(gradients(9, False), gradients(9, True), strict=True):
        assert np.any(wanted)
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_steps_are_the_layer() -> None:
    """The step of decoding and the cell of Keras give the states of the scan."""
    made = layer()
    sequences, state = noise(2, 7, WIDTH), noise(2, UNITS)
    outputs, _ = made(sequences, initial_state=[state])
    by_cell = state
    for t in range(7):
        (state,) = get_cell("mingru").step(made.cell, sequences[:, t], (state,))
        output, (by_cell,) = made.cell(sequences[:, t], [by_cell])
        np.testing.assert_allclose(state, outputs[:, t], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(output, outputs[:, t], rtol=1e-5, atol=1e-6)


def test_later_steps_change_nothing() -> None:
    """What follows a step, such as padding, changes neither its output nor its gradient."""
    made = layer()
    sequences = noise(2, 2 * SCAN_STEPS, WIDTH)
    dirty = tf.concat([sequences[:, :70], tf.fill([2, 90, WIDTH], 50.0)], axis=1)

    np.testing.assert_allclose(made(dirty)[0][:, :70], made(sequences)[0][:, :70], rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(dirty)
        loss = tf.reduce_sum(made(dirty)[0][:, :70])
    gradient = tape.gradient(loss, dirty)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[:, 70:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "expected 'tanh' \\(the default\\) for the cell 'mingru'"),
        ({"recurrent_dropout": 0.2}, "recurrent_dropout = 0.2: expected 0 for the cell 'mingru'"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    """Options that the cell does not have are refused, with the value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        MinGRU(UNITS, **options)


def test_config() -> None:
    """The configuration makes the same layer again."""
    made = layer(name="scan")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    again.build((None, None, WIDTH))
    again.set_weights(made.get_weights())

    assert (again.name, again.units, again.return_state) == ("scan", UNITS, True)
    np.testing.assert_array_equal(again(noise(2, 5, WIDTH))[0], made(noise(2, 5, WIDTH))[0])
