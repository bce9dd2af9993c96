"""Cross-entropy of tokens, tags, labels and sets of labels, and the number of correct predictions."""

from __future__ import annotations

import tensorflow as tf


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Return the cross-entropy of each target with the softmax of its logits, in nats.

    With label smoothing ε the target distribution is 1 - ε on the target and ε spread evenly over all classes
    (Szegedy et al. 2016, section 7).

    Args:
        logits: float [..., C].
        targets: int32 [...], from 0 to C - 1.
        label_smoothing: ε, from 0 to 1.

    Returns:
        float32 [...]. `cross_entropy([[0., 0.]], [1]) -> [0.69]`
    """
    logits = tf.cast(logits, tf.float32)
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    if label_smoothing:
        # log Z - y is the loss of class y: the losses of two classes differ as their logits do.
        of_target = tf.gather(logits, targets, axis=-1, batch_dims=len(targets.shape))
        nats += label_smoothing * (of_target - tf.reduce_mean(logits, axis=-1))
    return nats


def soft_cross_entropy(logits: tf.Tensor, probabilities: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of given probabilities with the softmax of logits at a temperature, in nats.

    Args:
        logits: float [..., C].
        probabilities: float32 [..., C], of a teacher.
        temperature: the logits are divided by it.

    Returns:
        float32 [...]. `soft_cross_entropy([[0., 0.]], [[0.1, 0.9]], 2.) -> [0.69]`
    """
    logits = tf.cast(logits, tf.float32) / temperature
    return tf.nn.softmax_cross_entropy_with_logits(labels=probabilities, logits=logits)


def binary_cross_entropy(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Return the cross-entropy of each target, present or not, with the sigmoid of its logit, in nats.

    With label smoothing ε the target probability is 1 - ε/2 of a present target and ε/2 of an absent one: as
    in `cross_entropy`, ε is spread evenly over the two cases.

    Args:
        logits: float [...].
        targets: bool [...], or their probabilities float32 [...].
        label_smoothing: ε, from 0 to 1.

    Returns:
        float32 [...]. `binary_cross_entropy([0., 2.], [True, False]) -> [0.69, 2.13]`
    """
    wanted = tf.cast(targets, tf.float32) * (1 - label_smoothing) + label_smoothing / 2
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=tf.cast(logits, tf.float32))


def token_cross_entropy(
    logits: tf.Tensor, targets: tf.Tensor, real: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Return the cross-entropy of each token, and 0 for padding, whatever its logits are.

    Args:
        logits: float [B, T, V].
        targets: int32 [B, T].
        real: bool [B, T], False for padding.
        label_smoothing: as of `cross_entropy`.

    Returns:
        float32 [B, T]; divide a sum by the number of real tokens for a mean.
    """
    return tf.where(real, cross_entropy(logits, targets, label_smoothing), 0.0)


def number_correct(
    logits: tf.Tensor,
    targets: tf.Tensor,
    real: tf.Tensor | None = None,
    *,
    axis: int | None = None,
    never: int | None = None,
) -> tf.Tensor:
    """Return how many targets have the highest logit.

    Args:
        logits: float [..., C].
        targets: int32 [...].
        real: bool [...]; targets where it is False do not count.
        axis: to count along; None counts all.
        never: a target that is never counted, such as the id of all tokens out of vocabulary.

    Returns:
        float32 [], or without the axis.
    """
    correct = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), targets)
    if real is not None:
        correct &= real
    if never is not None:
        correct &= tf.not_equal(targets, never)
    return tf.reduce_sum(tf.cast(correct, tf.float32), axis=axis)
