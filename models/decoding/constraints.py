"""Changes of the logits before a token is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

NEVER = float("-inf")


def forbidden_logits(forbidden: Sequence[int] | tf.Tensor, vocabulary_size: tf.Tensor) -> tf.Tensor:
    """Return what to add to logits so that some tokens are never chosen: float [V], 0 or -inf."""
    forbidden = tf.cast(tf.convert_to_tensor(forbidden, tf.int32), tf.int32)
    is_forbidden = tf.reduce_any(tf.range(vocabulary_size)[:, tf.newaxis] == forbidden, axis=1)
    return tf.where(is_forbidden, NEVER, 0.0)


def penalise_repetition(logits: tf.Tensor, recent: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Make tokens less likely that occur in the recent text (Keskar et al. 2019, section 4.1).

    A positive logit is divided by the penalty; a negative one is multiplied by it, for which the
    division of the paper would make it likelier. A token that occurs twice is penalised once.

    Args:
        logits: float [B, V].
        recent: token ids int32 [B, W].
        penalty: float [B], 1 for none.

    Returns:
        logits float [B, V].
    """
    chosen = tf.gather(logits, recent, batch_dims=1)
    penalty = penalty[:, tf.newaxis]
    row = tf.broadcast_to(tf.range(tf.shape(logits)[0])[:, tf.newaxis], tf.shape(recent))
    return tf.tensor_scatter_nd_update(
        logits, tf.stack([row, recent], axis=-1), tf.where(chosen > 0, chosen / penalty, chosen * penalty)
    )


def keep_likely(scores: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sort tokens and keep the likeliest, by number (Fan et al. 2018) and by mass (Holtzman et al. 2020).

    Args:
        scores: logits float [B, V].
        top_k: the most tokens to keep, int32 [B]; all for 0 or less.
        top_p: the share of the mass that the kept tokens reach, float [B]; all for 1 or more.

    Returns:
        logits float [B, V] in falling order, -inf for what is not kept; their token ids int32 [B, V].
    """
    vocabulary_size = tf.shape(scores)[1]
    scores, ids = tf.math.top_k(scores, vocabulary_size)
    rank = tf.range(vocabulary_size)[tf.newaxis]
    most = tf.where(top_k > 0, top_k, vocabulary_size)[:, tf.newaxis]
    scores = tf.where(rank < most, scores, NEVER)
    mass_before = tf.cumsum(tf.nn.softmax(scores), axis=-1, exclusive=True)
    top_p = top_p[:, tf.newaxis]
    # The rounding of the sum must not remove tokens where all are kept.
    kept = (rank == 0) | (mass_before < top_p) | (top_p >= 1)
    return tf.where(kept, scores, NEVER), ids
