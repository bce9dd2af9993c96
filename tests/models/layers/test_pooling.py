from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.layers.pooling import Pooling
from models.layers.poolings import POOLINGS
from models.layers.poolings.base import real_steps

Array = NDArray[np.float64]

WIDTH = 3
LENGTHS = [4, 1, 3, 2]
# What padding holds: values that would win a maximum, zeros among negative values too.
PADDINGS = [0.0, 50.0, -50.0, 1e30, -1e30]

each_kind = pytest.mark.parametrize("kind", POOLINGS)


def pooling(kind: str) -> Pooling:
    """Return a built layer whose weights are all random, biases too."""
    made = Pooling(kind)
    made.build((None, None, WIDTH))
    generator = np.random.default_rng(0)
    made.set_weights([generator.normal(size=weight.shape) for weight in made.get_weights()])
    return made


def batch(
    padding: float = 0.0, steps: int = 4, offset: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return rows of noise around the offset, noise as final states, and the lengths."""
    sequences = np.full((len(LENGTHS), steps, WIDTH), padding)
    for row, length in enumerate(LENGTHS):
        sequences[row, :length] = np.random.default_rng([1, row]).normal(offset, size=(length, WIDTH))
    final = np.random.default_rng(2).normal(size=(len(LENGTHS), WIDTH))
    return tf.constant(sequences, tf.float32), tf.constant(final, tf.float32), tf.constant(LENGTHS)


def expected(made: Pooling, steps: Array, final: Array) -> Array:
    """Pool one row without padding: [T, D], [D] → [D]."""
    if made.kind == "last":
        return final
    if made.kind == "max":
        return np.array([max(feature) for feature in steps.T])
    if made.kind == "mean":
        return np.array([sum(feature) / len(feature) for feature in steps.T])
    if made.kind == "max_mean":
        return np.concatenate([steps.max(axis=0), steps.mean(axis=0)])
    kernel, bias = made.project.get_weights()
    (context,) = made.score.get_weights()
    scores = np.exp([np.tanh(step @ kernel + bias) @ context[:, 0] for step in steps])
    return sum(score * step for score, step in zip(scores / scores.sum(), steps, strict=True))


@each_kind
@pytest.mark.parametrize("offset", [0.0, -9.0])
def test_pooling(kind: str, offset: float) -> None:
    """A row's vector is computed from its real steps, also of negative values."""
    made = pooling(kind)
    sequences, final, lengths = batch(offset=offset)
    pooled = made(sequences, final, lengths)

    assert pooled.shape == [len(LENGTHS), 2 * WIDTH if kind == "max_mean" else WIDTH]
    for row, length in enumerate(LENGTHS):
        wanted = expected(made, sequences[row, :length].numpy(), final[row].numpy())
        np.testing.assert_allclose(pooled[row], wanted, rtol=1e-5, atol=1e-6)


@each_kind
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("offset", [-9.0, 9.0])
def test_padding_changes_nothing(kind: str, padding: float, offset: float) -> None:
    """Neither the content nor the amount of padding changes a row's vector."""
    made = pooling(kind)
    pooled = made(*batch(offset=offset))

    np.testing.assert_allclose(made(*batch(padding, 4, offset)), pooled, rtol=1e-6)
    np.testing.assert_allclose(made(*batch(padding, 7, offset)), pooled, rtol=1e-5)


@each_kind
def test_order_of_rows_does_not_matter(kind: str) -> None:
    """Rows in another order, or alone, give the same vectors."""
    made = pooling(kind)
    sequences, final, lengths = batch(7.0)
    pooled = made(sequences, final, lengths).numpy()

    for order in ([2, 0, 3, 1], [0], [3], [1, 1]):
        again = made(*(tf.gather(tensor, order) for tensor in (sequences, final, lengths)))
        np.testing.assert_allclose(again, pooled[order], rtol=1e-6)


@each_kind
@pytest.mark.parametrize("padding", PADDINGS)
def test_gradients_do_not_flow_to_padding(kind: str, padding: float) -> None:
    """Gradients of real steps do not depend on padding; those of padding are 0."""
    made = pooling(kind)
    sequences, final, lengths = batch(padding, 6)
    wish = tf.random.stateless_normal(made(sequences, final, lengths).shape, seed=(1, 2))

    def gradient(row: slice, steps: int) -> list[Array]:
        inputs = sequences[row, :steps], final[row]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(made(*inputs, lengths[row]) * wish[row])
        zero = tf.UnconnectedGradients.ZERO
        return [g.numpy() for g in tape.gradient(loss, [*inputs, *made.weights], unconnected_gradients=zero)]

    of_steps, of_final, *of_weights = gradient(slice(None), 6)
    alone = [gradient(slice(row, row + 1), length) for row, length in enumerate(LENGTHS)]

    for row, length in enumerate(LENGTHS):
        assert not np.any(of_steps[row, length:])
        assert np.any(of_steps[row, :length]) == (kind != "last")
        assert np.any(of_final[row]) == (kind == "last")
        np.testing.assert_allclose(of_steps[row, :length], alone[row][0][0], rtol=1e-4, atol=1e-6)
    for i, g in enumerate(of_weights):
        assert np.any(g)
        np.testing.assert_allclose(g, sum(row[2 + i] for row in alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["max", "mean", "max_mean", "attention"])
def test_single_step(kind: str) -> None:
    """The vector of a row of one step is that step."""
    step = [-3.0, 0.5, 2.0]
    sequences = tf.constant([[step, [9.0, 9.0, 9.0]]])
    pooled = pooling(kind)(sequences, tf.zeros([1, WIDTH]), tf.constant([1]))

    np.testing.assert_allclose(pooled[0], step * (2 if kind == "max_mean" else 1), rtol=1e-6)


def test_attention_prefers() -> None:
    """Attention returns the vector of the step whose score is far above the others'."""
    made = Pooling("attention")
    made.build((None, None, WIDTH))
    made.project.set_weights([np.eye(WIDTH), np.zeros(WIDTH)])
    made.score.set_weights([np.array([[50.0], [0.0], [0.0]])])
    sequences = tf.constant([[[-2.0, 1.0, 1.0], [2.0, 3.0, 4.0], [0.0, 5.0, 5.0]]])

    np.testing.assert_allclose(made(sequences, sequences[:, 0], tf.constant([3]))[0], [2, 3, 4], rtol=1e-5)


@each_kind
def test_only_attention_has_weights(kind: str) -> None:
    """Attention has a projection of D · D + D weights and a context of D, the others none."""
    assert pooling(kind).count_params() == (WIDTH * WIDTH + WIDTH + WIDTH if kind == "attention" else 0)


@each_kind
def test_config(kind: str) -> None:
    """The configuration makes the same layer again."""
    made = pooling(kind)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    again.set_weights(made.get_weights())

    assert isinstance(again, Pooling)
    np.testing.assert_array_equal(again(*batch()), made(*batch()))


def test_real_steps() -> None:
    """A step is real if it is within its row's length."""
    assert real_steps(tf.zeros([2, 3, 5]), tf.constant([1, 3])).numpy().tolist() == [
        [[True], [False], [False]],
        [[True], [True], [True]],
    ]


@pytest.mark.parametrize("kind", ["max", "mean", "max_mean"])
def test_equal_values_share_the_gradient(kind: str) -> None:
    """The gradient is that of the plain definition, of which equal largest values have equal shares."""
    random = np.random.default_rng(1)
    sequences = tf.constant(random.integers(-2, 2, (3, 7, 5)), tf.float32)
    lengths = tf.constant([7, 4, 1])
    made = pooling(kind)
    wish = tf.constant(random.normal(size=(3, 10 if kind == "max_mean" else 5)), tf.float32)

    def plain(sequences: tf.Tensor) -> tf.Tensor:
        real = real_steps(sequences, lengths)
        largest = tf.reduce_max(tf.where(real, sequences, -9.0), axis=1)
        mean = tf.reduce_sum(tf.where(real, sequences, 0.0), axis=1) / tf.cast(lengths, tf.float32)[:, None]
        return {"max": largest, "mean": mean, "max_mean": tf.concat([largest, mean], -1)}[kind]

    def gradient(pool: Callable[[tf.Tensor], tf.Tensor]) -> Array:
        with tf.GradientTape() as tape:
            tape.watch(sequences)
            pooled = pool(sequences)
        return tape.gradient(pooled, sequences, wish).numpy()

    found = gradient(tf.function(lambda steps: made(steps, steps[:, 0], lengths)))

    np.testing.assert_allclose(found, gradient(plain), rtol=1e-6, atol=1e-7)


@each_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(kind: str, value: float) -> None:
    """A value that is not finite shows in its own row, and only if its step is real."""
    sequences = np.ones((3, 4, WIDTH), np.float32)
    sequences[1, 1, 2] = sequences[2, 3, 2] = value
    sequences = tf.constant(sequences)

    pooled = pooling(kind)(sequences, sequences[:, 1], tf.constant([4, 4, 2])).numpy()

    assert np.isfinite(pooled).all(axis=1).tolist() == [True, False, True]
