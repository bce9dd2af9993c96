"""Kullback-Leibler divergences between what a network predicts twice, in nats."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Scores(NamedTuple):
    """Scores of classes, of which a softmax or sigmoids make probabilities."""

    logits: tf.Tensor
    """Float [..., C]."""
    real: tf.Tensor | None = None
    """Bool [...], False for padding; None if there is none."""
    independent: bool = False
    """Whether each class is present or absent by itself, with the sigmoid of its logit as its probability."""

    def fixed(self) -> Scores:
        """Return the same scores, through which no gradient flows."""
        return self._replace(logits=tf.stop_gradient(self.logits))


def divergence(first: Scores, second: Scores) -> tf.Tensor:
    """Return the mean of KL(first ‖ second) over rows or real tokens.

    Of independent classes it is the sum of their divergences.

    Args:
        first: logits [..., C].
        second: logits [..., C] of the same rows and tokens.

    Returns:
        float32 []. `divergence(Scores([[0., 0.]]), Scores([[1., 0.]])) -> 0.12`
    """
    p, q = (tf.cast(scores.logits, tf.float32) for scores in (first, second))
    if first.independent:
        present, absent = _weighted_difference(p, q), _weighted_difference(-p, -q)
        nats = tf.reduce_sum(present + absent, axis=-1)
    else:
        nats = tf.reduce_sum(tf.nn.softmax(p) * (tf.nn.log_softmax(p) - tf.nn.log_softmax(q)), axis=-1)
    if first.real is None:
        return tf.reduce_mean(nats)
    count = tf.maximum(tf.reduce_sum(tf.cast(first.real, tf.float32)), 1.0)
    return tf.reduce_sum(tf.where(first.real, nats, 0.0)) / count


def symmetric_divergence(first: Scores, second: Scores) -> tf.Tensor:
    """Return the mean of KL(first ‖ second) and KL(second ‖ first): float32 []."""
    return (divergence(first, second) + divergence(second, first)) / 2


def _weighted_difference(p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
    return tf.sigmoid(p) * (tf.math.log_sigmoid(p) - tf.math.log_sigmoid(q))
