from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.losses import cross_entropy, number_correct, token_cross_entropy


def expected(logits: np.ndarray, targets: np.ndarray, smoothing: float) -> np.ndarray:
    """Return the cross-entropy with the smoothed distribution, written out."""
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    classes = logits.shape[-1]
    wanted = (1 - smoothing) * np.eye(classes)[targets] + smoothing / classes
    found: np.ndarray = -(wanted * log_probabilities).sum(axis=-1)
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_cross_entropy(shape: tuple[int, ...], smoothing: float) -> None:
    """The loss is the cross-entropy with the smoothed target, of labels and of tokens."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=3, size=(*shape, 5))
    targets = generator.integers(0, 5, shape)
    found = cross_entropy(tf.constant(logits, tf.float32), tf.constant(targets), smoothing)

    np.testing.assert_allclose(found, expected(logits, targets, smoothing), rtol=1e-5)


def test_half_precision() -> None:
    """Logits of half precision give a loss in float32."""
    logits = tf.constant([[1.0, 2.0]], tf.bfloat16)
    assert cross_entropy(logits, tf.constant([0]), 0.1).dtype == tf.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_does_not_count(smoothing: float) -> None:
    """Padding has a loss of 0, and its logits change no gradient of real tokens."""
    logits = tf.constant([[[1.0, 2.0], [np.inf, np.nan]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        nats = token_cross_entropy(logits, tf.constant([[0, 0]]), tf.constant([[True, False]]), smoothing)
    wanted = expected(np.array([[1.0, 2.0]]), np.array([0]), smoothing)

    np.testing.assert_allclose(nats, [[wanted[0], 0.0]], rtol=1e-5)
    own = tape.gradient(nats, logits)[0, 0]
    np.testing.assert_allclose(
        own, np.array([-0.7311, 0.7311]) + smoothing * np.array([0.5, -0.5]), rtol=1e-3
    )


def test_number_correct() -> None:
    """Targets with the highest logit count, padding does not."""
    logits = tf.constant([[[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]]])
    targets = tf.constant([[1, 1, 1]])

    assert number_correct(logits, targets) == 2
    assert number_correct(logits, targets, tf.constant([[True, True, False]])) == 1
    assert number_correct(logits[0], targets[0]) == 2
