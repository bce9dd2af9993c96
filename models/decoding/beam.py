"""Beam search (Graves 2012; Sutskever et al. 2014), scored as by Wu et al. 2016."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from models.decoding.constraints import NEVER, forbidden_logits
from models.decoding.emit import State, Step, any_rows, emit, with_shape

_LOWEST_COVERAGE = 1e-10  # its logarithm is finite: a source token without attention still leaves a score


def beam_search(
    step: Step,
    state: State,
    logits: tf.Tensor,
    *,
    end_id: int | tf.Tensor,
    max_length: tf.Tensor,
    width: int | tf.Tensor,
    length_penalty: float | tf.Tensor = 0.0,
    coverage_penalty: float | tf.Tensor = 0.0,
    coverage: Callable[[State], tf.Tensor] | None = None,
    forbidden: Sequence[int] | tf.Tensor = (),
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Search for the best texts of each row.

    A text's score is that of Wu et al. 2016, equation 14: log p / ((5 + n) / 6)^α
    + β Σ log min(coverage, 1), with n its tokens, the end included. A text is finished when its end is
    among the best `width` continuations, or at the greatest length; `width` unfinished ones continue.
    A row is searched until `width` texts are finished and no unfinished one can become better than the worst
    of them. A width of 1 is greedy search: it stops at the first end.

    Args:
        step: the model's step. It is called with N = B · width rows, those of one row of the batch
            together. What no step changes, such as an encoder's outputs, is better closed over, its rows
            repeated by `repeat_rows`, than held in the state, whose rows are gathered at each step.
        state: after the prompt, of B rows.
        logits: of the first token to emit, float [B, V].
        end_id: the token that ends a text.
        max_length: maximum number of tokens of a text, at least 1, int32 [B] or one for all rows.
        width: number of texts. A Python 1 is faster than a tensor that holds 1.
        length_penalty: α; 0 for none, larger values favor longer texts.
        coverage_penalty: β, at least 0.
        coverage: from a state, the attention that each source position has had in sum, the step to the
            state's logits included, float [N, S]; at least 1 where there is no source token.
        forbidden: ids that are never emitted, int32 [F].

    Returns:
        ids int32 [B, width, T] without the end, 0 beyond a text's length, T the longest text's length;
        lengths int32 [B, width]; scores float [B, width], best first. Where there are fewer texts than
        the width, empty ones with a score of -inf fill up.
    """
    rows, vocabulary_size = tf.unstack(tf.shape(logits))
    search = _Search(
        step=step,
        end_id=end_id,
        max_length=tf.maximum(tf.broadcast_to(tf.cast(max_length, tf.int32), [rows]), 1),
        width=width,
        forbidden=forbidden_logits(forbidden, vocabulary_size),
        alpha=tf.cast(length_penalty, tf.float64),
        beta=tf.maximum(tf.cast(coverage_penalty, tf.float64), 0.0),
        coverage=coverage,
    )
    if isinstance(width, int) and width == 1:
        return search.greedy(state, logits)
    return search.run(state, logits)


def repeat_rows(nest: State, width: int | tf.Tensor) -> State:
    """Repeat each row of each tensor `width` times in succession, as `beam_search` orders its rows.

    `repeat_rows([[1], [2]], 2) -> [[1], [1], [2], [2]]`
    """
    return tf.nest.map_structure(lambda tensor: tf.repeat(tensor, width, axis=0), nest)


class _Beams(NamedTuple):
    """The variables of the loop: K unfinished texts of t tokens a row, and the K best finished ones."""

    position: tf.Tensor
    """int32 [], equal to t."""
    is_open: tf.Tensor
    """bool [B], whether the search of a row continues."""
    ids: tf.Tensor
    """int32 [B, K, t]"""
    scores: tf.Tensor
    """log p, float64 [B, K]; -inf for none."""
    finished_ids: tf.Tensor
    """int32 [B, K, t]"""
    finished_lengths: tf.Tensor
    """int32 [B, K]"""
    finished_scores: tf.Tensor
    """float64 [B, K], best first; -inf for none."""
    logits: tf.Tensor
    """float [B · K, V], of the next token."""
    state: State
    """[B · K, …]"""


class _Candidates(NamedTuple):
    """The C best continuations of a row's beams by one token."""

    log_probability: tf.Tensor
    """float64 [B, C], best first."""
    beams: tf.Tensor
    """int32 [B, C], which beam each continues."""
    tokens: tf.Tensor
    """int32 [B, C]"""
    ids: tf.Tensor
    """int32 [B, C, t + 1], 0 for the end."""
    is_end: tf.Tensor
    """bool [B, C]"""
    stops: tf.Tensor
    """bool [B, C], whether it is finished: by the end or by the greatest length."""


@dataclass(frozen=True)
class _Search:
    """What stays the same during a search, see `beam_search`."""

    step: Step
    end_id: int | tf.Tensor
    max_length: tf.Tensor
    width: int | tf.Tensor
    forbidden: tf.Tensor
    alpha: tf.Tensor
    beta: tf.Tensor
    coverage: Callable[[State], tf.Tensor] | None

    def greedy(self, state: State, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Search with a width of 1."""
        ids, lengths, log_probability, covered, _, _ = emit(
            self.step,
            state,
            logits,
            lambda logits, *_: tf.argmax(logits + self.forbidden, axis=-1, output_type=tf.int32),
            length=self.max_length,
            end_id=self.end_id,
            coverage=self.coverage,
        )
        tokens = lengths + tf.cast(lengths < self.max_length, tf.int32)
        scores = tf.cast(log_probability, tf.float64) / self._penalty(tokens)
        if covered is not None:
            scores += self._coverage_score(covered)
        return ids[:, tf.newaxis], lengths[:, tf.newaxis], tf.cast(scores, tf.float32)[:, tf.newaxis]

    def run(self, state: State, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Search with any width."""
        rows = tf.shape(logits)[0]
        first = self._first(rows, repeat_rows(state, self.width), repeat_rows(logits, self.width))
        matrix, cube = tf.TensorShape([None, None]), tf.TensorShape([None, None, None])
        shapes = _Beams(
            position=tf.TensorShape([]),
            is_open=tf.TensorShape([None]),
            ids=cube,
            scores=matrix,
            finished_ids=cube,
            finished_lengths=matrix,
            finished_scores=matrix,
            logits=any_rows(first.logits),
            state=tf.nest.map_structure(any_rows, first.state),
        )

        def extend(*variables: Any) -> _Beams:
            before = _Beams(*variables)
            candidates = self._candidates(before, rows)
            finished = self._finished(before, candidates, rows)
            return self._next(before, candidates, finished, rows, shapes.state)

        found = _Beams(
            *tf.while_loop(
                lambda position, is_open, *_: tf.reduce_any(is_open),
                extend,
                tuple(first),
                shape_invariants=tuple(shapes),
            )
        )
        exists = tf.math.is_finite(found.finished_scores)  # else it holds whatever the last beams held
        lengths = tf.where(exists, found.finished_lengths, 0)
        ids = tf.where(exists[:, :, tf.newaxis], found.finished_ids, 0)
        return ids[:, :, : tf.reduce_max(lengths)], lengths, tf.cast(found.finished_scores, tf.float32)

    def _first(self, rows: tf.Tensor, state: State, logits: tf.Tensor) -> _Beams:
        nothing = tf.zeros([rows, self.width, 0], tf.int32)
        never = tf.fill([rows, self.width], _impossible())
        return _Beams(
            position=tf.constant(0),
            is_open=tf.fill([rows], True),
            ids=nothing,
            # One beam at first: all of them are the same empty text.
            scores=tf.where(tf.range(self.width) == 0, tf.zeros([], tf.float64), never),
            finished_ids=nothing,
            finished_lengths=tf.zeros([rows, self.width], tf.int32),
            finished_scores=never,
            logits=logits,
            state=state,
        )

    def _candidates(self, before: _Beams, rows: tf.Tensor) -> _Candidates:
        """Return the best continuations by one token, twice as many as beams: each beam has one end."""
        vocabulary_size = tf.shape(before.logits)[1]
        count = tf.minimum(2 * self.width, self.width * vocabulary_size)
        # Sums are float64. In float32 their rounding, which depends on the batch, would decide between texts
        # that differ by a millionth. The order of the tokens of one beam is that of the logits.
        best, tokens = tf.math.top_k(before.logits + self.forbidden, tf.minimum(count, vocabulary_size))
        best = tf.cast(best, tf.float64) - _log_normaliser(before.logits)
        log_probability, indices = tf.math.top_k(
            tf.reshape(tf.reshape(before.scores, [-1, 1]) + best, [rows, -1]), count
        )
        beams = indices // tf.shape(best)[1]
        tokens = tf.gather(tf.reshape(tokens, [rows, -1]), indices, batch_dims=1)
        is_end = tokens == self.end_id
        ids = tf.concat(
            [tf.gather(before.ids, beams, batch_dims=1), tf.where(is_end, 0, tokens)[:, :, tf.newaxis]],
            axis=-1,
        )
        stops = is_end | (before.position + 1 >= self.max_length)[:, tf.newaxis]
        return _Candidates(log_probability, beams, tokens, ids, is_end, stops)

    def _finished(
        self, before: _Beams, candidates: _Candidates, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return ids, lengths and scores of the best finished texts."""
        in_width = tf.range(tf.shape(candidates.tokens)[1]) < self.width
        finishes = candidates.stops & in_width & tf.math.is_finite(candidates.log_probability)
        scores = candidates.log_probability / self._penalty(before.position + 1)
        if self.coverage is not None:
            of_beams = tf.reshape(self._coverage_score(self.coverage(before.state)), [rows, self.width])
            scores += tf.gather(of_beams, candidates.beams, batch_dims=1)
        scores, kept = tf.math.top_k(
            tf.concat([before.finished_scores, tf.where(finishes, scores, _impossible())], axis=1), self.width
        )
        ids = tf.concat([tf.pad(before.finished_ids, [[0, 0], [0, 0], [0, 1]]), candidates.ids], axis=1)
        lengths = before.position + 1 - tf.cast(candidates.is_end, tf.int32)
        lengths = tf.concat([before.finished_lengths, lengths], axis=1)
        return tf.gather(ids, kept, batch_dims=1), tf.gather(lengths, kept, batch_dims=1), scores

    def _next(
        self,
        before: _Beams,
        candidates: _Candidates,
        finished: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
        rows: tf.Tensor,
        shapes: Any,
    ) -> _Beams:
        """Return the beams after one more step of the model."""
        finished_ids, finished_lengths, finished_scores = finished
        unfinished = tf.where(candidates.stops, _impossible(), candidates.log_probability)
        scores, kept = tf.math.top_k(unfinished, self.width)
        beams = tf.gather(candidates.beams, kept, batch_dims=1)
        tokens = tf.gather(candidates.tokens, kept, batch_dims=1)
        # log p can only fall. Divided by the greatest penalty that may follow, it bounds the scores of all
        # continuations, to which coverage adds nothing above 0.
        bound = scores[:, 0] / tf.maximum(self._penalty(before.position + 2), self._penalty(self.max_length))
        is_open = bound > finished_scores[:, -1]
        is_open &= (self.width > 1) | tf.math.is_inf(finished_scores[:, -1])
        # A row whose search is over has no beams left, so that it does not change while others continue.
        scores = tf.where(is_open[:, tf.newaxis], scores, _impossible())
        flat = tf.reshape(tf.range(rows)[:, tf.newaxis] * self.width + beams, [-1])
        state = tf.nest.map_structure(lambda tensor: tf.gather(tensor, flat), before.state)
        logits, state = self.step(tf.reshape(tokens, [-1]), state)
        return _Beams(
            position=before.position + 1,
            is_open=is_open,
            ids=tf.gather(candidates.ids, kept, batch_dims=1),
            scores=scores,
            finished_ids=finished_ids,
            finished_lengths=finished_lengths,
            finished_scores=finished_scores,
            logits=logits,
            state=tf.nest.map_structure(with_shape, state, shapes),
        )

    def _penalty(self, length: tf.Tensor) -> tf.Tensor:
        """Return what log p of a text of so many tokens is divided by."""
        return ((5 + tf.cast(length, tf.float64)) / 6) ** self.alpha

    def _coverage_score(self, covered: tf.Tensor) -> tf.Tensor:
        share = tf.clip_by_value(tf.cast(covered, tf.float64), _LOWEST_COVERAGE, 1.0)
        return self.beta * tf.reduce_sum(tf.math.log(share), axis=-1)


def _impossible() -> tf.Tensor:
    return tf.constant(NEVER, tf.float64)


def _log_normaliser(logits: tf.Tensor) -> tf.Tensor:
    """Return the logarithm of Σ exp of logits, summed in float64: float32 [N, V] → float64 [N, 1]."""
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    total = tf.reduce_sum(tf.cast(tf.exp(logits - largest), tf.float64), axis=-1, keepdims=True)
    return tf.cast(largest, tf.float64) + tf.math.log(total)
