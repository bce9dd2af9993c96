"""The sampled softmax: a loss over a large vocabulary from a few of its tokens (Jean et al. 2015)."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf


class Samples(NamedTuple):
    """Distinct tokens that a batch shares."""

    ids: tf.Tensor
    """int32 [N]."""
    log_shares: tf.Tensor
    """float32 [V]: the logarithm of the probability with which each token of the vocabulary is drawn."""


def draw(vocabulary: int, number: int, seed: keras.random.SeedGenerator) -> Samples:
    """Draw tokens, more of those with small ids: a log-uniform distribution, close to Zipf's.

    They are the first N arrivals of Poisson processes whose rates are log((i + 2) / (i + 1)) of token i.
    Given the time of the arrival that follows, each was drawn with a probability that is known exactly, so
    that a sum over the samples, divided by it, is without bias (Cohen and Kaplan 2007, bottom-k sampling).

    Args:
        vocabulary: V, number of tokens, which are sorted by frequency.
        number: N, from 1 to V - 1.
        seed: its state alone decides what is drawn.
    """
    places = np.arange(vocabulary)
    rates = tf.constant(np.log1p(1 / (places + 1)), tf.float32)
    waits = -tf.math.log1p(-keras.random.uniform([vocabulary], seed=seed, dtype="float32"))
    negated, ids = tf.math.top_k(-waits / rates, number + 1)
    return Samples(ids[:number], tf.math.log(-tf.math.expm1(rates * negated[number])))


def sampled_logits(
    features: tf.Tensor,
    targets: tf.Tensor,
    samples: Samples,
    *,
    table: tf.Tensor | keras.Variable,
    axis: int,
    bias: tf.Tensor | keras.Variable,
) -> tf.Tensor:
    """Return logits of the target of each step, which is the first class, and of the samples.

    As in `tf.nn.sampled_softmax_loss` each is corrected by the probability that it is drawn, and a sample
    that is the target itself does not count. The weights of these tokens alone are read, and have a gradient.

    Args:
        features: float [B, T, D].
        targets: int32 [B, T].
        samples: N of a vocabulary of V.
        table: output weights, float [V, D] or [D, V].
        axis: of the vocabulary in it, 0 or 1.
        bias: float [V].

    Returns:
        float32 [B, T, 1 + N].
    """
    own, inverse = tf.unique(tf.reshape(targets, [-1]))
    number = tf.size(samples.ids)
    # One look-up, whose gradient fills an array of the size of the table once.
    weights = tf.gather(tf.convert_to_tensor(table), tf.concat([samples.ids, own], axis=0), axis=axis)
    weights = tf.cast(weights if axis == 0 else tf.transpose(weights), features.dtype)
    of_targets = tf.reshape(tf.gather(weights, number + inverse), tf.shape(features))
    true = tf.reduce_sum(tf.cast(features * of_targets, tf.float32), axis=-1)
    sampled = tf.cast(tf.einsum("btd,nd->btn", features, weights[:number]), tf.float32)
    correction = tf.cast(tf.convert_to_tensor(bias), tf.float32) - samples.log_shares
    true += tf.gather(correction, targets)
    sampled += tf.gather(correction, samples.ids)
    sampled = tf.where(tf.equal(targets[..., tf.newaxis], samples.ids), tf.float32.min, sampled)
    return tf.concat([true[..., tf.newaxis], sampled], axis=-1)
