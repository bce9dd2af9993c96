"""Sampling with temperature, top-k, top-p and a repetition penalty."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.decoding.constraints import forbidden_logits, keep_likely, penalise_repetition
from models.decoding.emit import State, Step, emit
from models.decoding.noise import gumbel_noise


def sample(
    step: Step,
    state: State,
    logits: tf.Tensor,
    *,
    length: tf.Tensor,
    temperature: tf.Tensor = 1.0,
    top_k: tf.Tensor = 0,
    top_p: tf.Tensor = 1.0,
    seed: tf.Tensor = 0,
    repetition_penalty: tf.Tensor = 1.0,
    end_id: int | tf.Tensor = -1,
    forbidden: Sequence[int] | tf.Tensor = (),
    emitted: tf.Tensor | None = None,
    counts: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, State, tf.Tensor]:
    """Sample one text a row, token by token.

    In this order: the repetition penalty changes the logits, forbidden tokens are removed, the logits are
    divided by the temperature, top-k and then top-p (of the mass that top-k left) remove tokens, and one of
    the remaining tokens is drawn by the Gumbel-max trick with the noise of
    `gumbel_noise`. A row's text depends only on the arguments of this row.

    Args:
        step: the model's step.
        state: after the prompt, of B rows.
        logits: of the first token to emit, float [B, V].
        length: maximum number of tokens to emit, int32 [B]. This and the following may
            also be one value for all rows.
        temperature: float [B]; 0 takes the likeliest token (the lowest id among equals).
        top_k: only so many of the likeliest tokens are drawn from, int32 [B] (Fan et al. 2018); 0 for all.
            Among equals, lower ids stay.
        top_p: only the fewest likeliest tokens that hold this share of the mass are drawn from, float [B]
            (Holtzman et al. 2020); 1 for all. The likeliest always stays.
        seed: int32 [B].
        repetition_penalty: what the logits of the last `REPETITION_WINDOW` emitted tokens are divided
            by, and negative ones multiplied by, float [B] (Keskar et al. 2019, section 4.1); 1 for none.
        end_id: a token that ends a row; -1 for none.
        forbidden: ids that are never emitted, int32 [F].
        emitted: ids int32 [B, P] of an earlier call that this one continues with the state and the logits
            that it returned: the text is then that of one call. The first of such calls has P = 0.
        counts: how many of them at the end of each row are of its text, int32 [B]; None: all.

    Returns:
        ids int32 [B, T], 0 beyond a row's length, T the longest row's length; lengths int32 [B]; the
        sum of the model's own log p of the emitted tokens, before all of the above, float [B]; the state
        and the logits, see `emit`. The token that ends a row is in neither ids nor lengths, but in
        the log p: it is then the whole text's.
    """
    rows, vocabulary_size = tf.unstack(tf.shape(logits))

    def for_rows(value: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        return tf.broadcast_to(tf.cast(value, dtype), [rows])

    temperature = for_rows(temperature, tf.float32)[:, tf.newaxis]
    top_k = for_rows(top_k, tf.int32)
    top_p = for_rows(top_p, tf.float32)
    seed = for_rows(seed, tf.int32)
    repetition_penalty = for_rows(repetition_penalty, tf.float32)
    barred = forbidden_logits(forbidden, vocabulary_size)
    all_ids = tf.range(vocabulary_size)[tf.newaxis]
    # Unused options cost nothing: sorting a vocabulary takes longer than one step of a small model.
    penalises = tf.reduce_any(repetition_penalty != 1)
    filters = tf.reduce_any((top_k > 0) | (top_p < 1))

    def draw(scores: tf.Tensor, ids: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        noise = tf.where(temperature > 0, gumbel_noise(seed, position, ids), 0.0)
        best = tf.argmax(scores + noise, axis=-1, output_type=tf.int32)
        ids = tf.broadcast_to(ids, tf.shape(scores))
        return tf.gather(ids, best, batch_dims=1)

    def choose(logits: tf.Tensor, position: tf.Tensor, recent: tf.Tensor) -> tf.Tensor:
        logits = barred + tf.cond(
            penalises, lambda: penalise_repetition(logits, recent, repetition_penalty), lambda: logits
        )
        # The best is 0 whatever the temperature, so that a tiny one overflows to certainty, not to NaN.
        scores = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
        scores /= tf.where(temperature > 0, tf.maximum(temperature, 1e-6), 1.0)
        return tf.cond(
            filters,
            lambda: draw(*keep_likely(scores, top_k, top_p), position),
            lambda: draw(scores, all_ids, position),
        )

    ids, lengths, log_probability, _, state, logits = emit(
        step,
        state,
        logits,
        choose,
        length=for_rows(length, tf.int32),
        end_id=end_id,
        emitted=emitted,
        counts=counts,
    )
    return ids, lengths, log_probability, state, logits
