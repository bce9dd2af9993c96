"""Losses."""

from __future__ import annotations

import tensorflow as tf


def label_cross_entropy(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Return the cross-entropy of labels in nats: logits float [B, L], targets int32 [B] → float32 [B]."""
    classes = logits.shape[-1]
    expected = tf.one_hot(targets, classes) * (1 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(expected, tf.cast(logits, tf.float32))
