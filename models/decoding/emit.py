"""The loop that emits one text a row, token by token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

State = Any
"""Nested tensors whose first dimension is the number of rows N."""
Step = Callable[[tf.Tensor, State], tuple[tf.Tensor, State]]
"""One step of a model: token ids int32 [N], state → logits of the next token float [N, V], state."""
Choice = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Logits float [N, V], position int32 [] or [N], recent tokens int32 [N, W] → the next tokens int32 [N]."""

REPETITION_WINDOW = 64
"""Number of the most recent tokens that count as repeated: over a whole text, every letter would be one."""


def emit(
    step: Step,
    state: State,
    logits: tf.Tensor,
    choose: Choice,
    *,
    length: tf.Tensor,
    end_id: int | tf.Tensor,
    coverage: Callable[[State], tf.Tensor] | None = None,
    emitted: tf.Tensor | None = None,
    counts: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | None, State, tf.Tensor]:
    """Emit one text a row.

    Args:
        step: of the model.
        state: after the prompt, of B rows.
        logits: of the first token, float [B, V].
        choose: the next token of each row.
        length: maximum number of tokens, int32 [B].
        end_id: the token that ends a row; -1 for none.
        coverage: of a state, see `models.decoding.beam.beam_search`.
        emitted: ids int32 [B, P] of an earlier call that this one continues. A call that is continued must
            have this argument, if only with P = 0: see what it returns.
        counts: how many of them at the end of each row are of its text, int32 [B]; those before are padding,
            0. None: all.

    Returns:
        ids int32 [B, T], lengths int32 [B], log p float [B], the coverage [B, S] at the last token or None,
        the state and the logits: with `emitted` those after the last token of each row, whatever the other
        rows are; else those after step T.
    """
    rows = tf.shape(logits)[0]
    before = tf.zeros([rows, 0], tf.int32) if emitted is None else emitted
    past = tf.shape(before)[1] if counts is None else counts
    shapes = tf.nest.map_structure(any_rows, state)
    covered = () if coverage is None else (coverage(state),)
    size = tf.maximum(tf.reduce_max(length), 1)

    def is_unfinished(position: tf.Tensor, is_open: tf.Tensor, *_: Any) -> tf.Tensor:
        # A first round even if no row wants a token: an empty array can't be stacked.
        return (position == 0) | tf.reduce_any(is_open)

    def extend(
        position: tf.Tensor,
        is_open: tf.Tensor,
        emitted_ids: tf.TensorArray,
        recent: tf.Tensor,
        lengths: tf.Tensor,
        log_probability: tf.Tensor,
        covered: tuple[tf.Tensor, ...],
        logits: tf.Tensor,
        state: State,
    ) -> tuple[Any, ...]:
        ids = choose(logits, past + position, recent)
        chosen = tf.gather(logits, ids, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)
        log_probability += tf.where(is_open, chosen, 0.0)
        if coverage is not None:
            covered = (tf.where(is_open[:, tf.newaxis], coverage(state), covered[0]),)
        is_open &= ids != end_id
        is_written = is_open
        ids = tf.where(is_written, ids, 0)
        lengths += tf.cast(is_written, tf.int32)
        is_open &= position + 1 < length
        after = step(ids, state)
        if emitted is not None:
            after = tf.nest.map_structure(partial(_where, is_written), after, (logits, state))
        logits, state = after
        return (
            position + 1,
            is_open,
            emitted_ids.write(position, ids),
            tf.concat([recent, ids[:, tf.newaxis]], axis=1)[:, -REPETITION_WINDOW:],
            lengths,
            log_probability,
            covered,
            logits,
            tf.nest.map_structure(with_shape, state, shapes),
        )

    _, _, emitted_ids, _, lengths, log_probability, covered, logits, state = tf.while_loop(
        is_unfinished,
        extend,
        (
            tf.constant(0),
            length > 0,
            tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=[None]),
            before[:, -REPETITION_WINDOW:],
            tf.zeros([rows], tf.int32),
            tf.zeros([rows]),
            covered,
            logits,
            state,
        ),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None]),
            tf.TensorShape(None),
            tf.TensorShape([None, None]),
            tf.TensorShape([None]),
            tf.TensorShape([None]),
            tf.nest.map_structure(any_rows, covered),
            any_rows(logits),
            shapes,
        ),
        maximum_iterations=size,
    )
    ids = tf.transpose(emitted_ids.stack())[:, : tf.reduce_max(lengths)]
    return ids, lengths, log_probability, covered[0] if covered else None, state, logits


def _where(rows: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """Return `new` where `rows`, bool [B], is true, else `old`."""
    return tf.where(tf.reshape(rows, [-1] + [1] * (len(new.shape) - 1)), new, old)


def any_rows(tensor: tf.Tensor) -> tf.TensorShape:
    """Return the shape of a tensor with any number of rows."""
    return tf.TensorShape([None, *tensor.shape[1:]])


def with_shape(tensor: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Restore the shape of a loop variable, of which a step may lose what was known."""
    return tf.ensure_shape(tensor, shape)
