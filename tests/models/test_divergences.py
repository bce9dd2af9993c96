from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.divergences import Scores, divergence, symmetric_divergence

FIRST = np.array([[[0.5, -1.0, 2.0], [0.0, 0.3, 0.1]]], np.float32)
SECOND = np.array([[[1.5, 0.0, -2.0], [0.7, 0.3, -0.1]]], np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities along the last axis."""
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def test_classes() -> None:
    """It is the sum of p log(p / q), and the mean over rows."""
    p, q = softmax(FIRST), softmax(SECOND)
    expected = (p * np.log(p / q)).sum(axis=-1).mean()

    assert float(divergence(Scores(FIRST), Scores(SECOND))) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(Scores(FIRST), Scores(FIRST + 3))) == pytest.approx(0, abs=1e-6)


def test_independent_labels() -> None:
    """The divergences of present and absent of each label are summed."""
    p, q = 1 / (1 + np.exp(-FIRST)), 1 / (1 + np.exp(-SECOND))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=-1).mean()

    found = divergence(Scores(FIRST, independent=True), Scores(SECOND, independent=True))

    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_padding() -> None:
    """Padding does not count, whatever its logits are, and no gradient flows to it."""
    logits = tf.constant(np.concatenate([SECOND, [[[np.inf, 0, 0]]]], axis=1), tf.float32)
    first = np.concatenate([FIRST, [[[1, 2, 3]]]], axis=1).astype(np.float32)
    real = tf.constant([[True, True, False]])

    found = divergence(Scores(first, real), Scores(tf.where(real[..., None], logits, 9.0), real))

    assert float(found) == pytest.approx(float(divergence(Scores(FIRST), Scores(SECOND))), rel=1e-5)


def test_symmetric() -> None:
    """It is the mean of both directions, which differ."""
    ahead = float(divergence(Scores(FIRST), Scores(SECOND)))
    behind = float(divergence(Scores(SECOND), Scores(FIRST)))

    assert ahead != pytest.approx(behind)
    assert float(symmetric_divergence(Scores(FIRST), Scores(SECOND))) == pytest.approx((ahead + behind) / 2)


def test_fixed() -> None:
    """No gradient flows through fixed scores."""
    logits = tf.constant(FIRST)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = divergence(Scores(logits).fixed(), Scores(SECOND))

    assert tape.gradient(found, logits) is None
