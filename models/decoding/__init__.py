"""Decoding in the graph: texts are sampled or searched for in one call, not in one call a token.

Nothing here knows a model. It gives its step as a function

    step(token_ids int32 [N], state) -> logits float [N, V], state

where the state is any nest of tensors whose first dimension is N, and the logits are those of the token
that follows. Rows never depend on each other: neither the size of a batch nor the order of its rows
changes a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

State = Any  # a nest of tensors, each [N, ...]
Step = Callable[[tf.Tensor, State], tuple[tf.Tensor, State]]
# Logits float [N, V], the position int32 [], recent tokens int32 [N, W] → the next tokens int32 [N].
Choice = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

REPETITION_WINDOW = 64  # emitted tokens; over a whole text of characters, every letter would be a repetition

_NEVER = float("-inf")
_LOWEST_COVERAGE = 1e-10  # its logarithm is finite: a source token never looked at still leaves a score


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
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, State, tf.Tensor]:
    """Draws one text a row, token by token.

    In this order: the repetition penalty changes the logits, forbidden tokens leave, the temperature
    divides, top-k and then top-p (of the mass that top-k left) cut, and one of the remaining tokens is
    drawn by the Gumbel-max trick with the noise of `gumbel_noise`. A row's text is a function of its own
    arguments alone.

    Args:
        step: the model's step.
        state: after the prompt was read, of B rows.
        logits: of the first token to emit, float [B, V].
        length: the most tokens to emit, int32 [B]. This and the following may also be one value for all rows.
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
        emitted: ids int32 [B, P] that an earlier call emitted, where this one goes on with the state and
            the logits that it gave: the text is then that of one call.

    Returns:
        ids int32 [B, T], 0 beyond a row's length, T the longest row's length; lengths int32 [B]; the
        sum of the model's own log p of the emitted tokens, before all of the above, float [B]; the state
        and the logits behind step T. The token that ends a row is in neither ids nor lengths, but in
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
    barred = _barred(forbidden, vocabulary_size)
    all_ids = tf.range(vocabulary_size)[tf.newaxis]
    # What nobody asks for is not computed: sorting a vocabulary costs more than a small model's step.
    penalises = tf.reduce_any(repetition_penalty != 1)
    cuts = tf.reduce_any((top_k > 0) | (top_p < 1))

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
            cuts,
            lambda: draw(*keep_likely(scores, top_k, top_p), position),
            lambda: draw(scores, all_ids, position),
        )

    ids, lengths, log_probability, _, state, logits = _emit(
        step, state, logits, choose, length=for_rows(length, tf.int32), end_id=end_id, emitted=emitted
    )
    return ids, lengths, log_probability, state, logits


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
    """Searches for each row's best texts, several at a time.

    A text's score is that of Wu et al. 2016, equation 14: log p / ((5 + n) / 6)^α
    + β Σ log min(coverage, 1), with n its tokens, the end included. A text is finished when its end is
    among the best `width` continuations, or at the greatest length; `width` unfinished ones go on beside
    it. A row is searched until `width` texts are finished and no unfinished one can become better than
    the worst of them. A width of 1 is greedy search: it stops at the first end.

    Args:
        step: the model's step. It is called with N = B · width rows, those of one row of the batch
            together. What no step changes, such as an encoder's outputs, is better closed over, its rows
            repeated by `repeat_rows`, than held in the state, whose rows are gathered at each step.
        state: after the prompt was read, of B rows.
        logits: of the first token to emit, float [B, V].
        end_id: the token that ends a text.
        max_length: the most tokens of a text, at least 1, int32 [B] or one for all rows.
        width: number of texts. A Python 1 takes a shorter way than a tensor that holds 1.
        length_penalty: α; 0 for none, more for longer texts.
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
    max_length = tf.maximum(tf.broadcast_to(tf.cast(max_length, tf.int32), [rows]), 1)
    barred = _barred(forbidden, vocabulary_size)
    alpha = tf.cast(length_penalty, tf.float64)
    beta = tf.maximum(tf.cast(coverage_penalty, tf.float64), 0.0)

    def penalty(length: tf.Tensor) -> tf.Tensor:
        return ((5 + tf.cast(length, tf.float64)) / 6) ** alpha

    def coverage_score(covered: tf.Tensor) -> tf.Tensor:
        share = tf.clip_by_value(tf.cast(covered, tf.float64), _LOWEST_COVERAGE, 1.0)
        return beta * tf.reduce_sum(tf.math.log(share), axis=-1)

    if isinstance(width, int) and width == 1:
        ids, lengths, log_probability, covered, _, _ = _emit(
            step,
            state,
            logits,
            lambda logits, *_: tf.argmax(logits + barred, axis=-1, output_type=tf.int32),
            length=max_length,
            end_id=end_id,
            coverage=coverage,
        )
        tokens = lengths + tf.cast(lengths < max_length, tf.int32)
        scores = tf.cast(log_probability, tf.float64) / penalty(tokens)
        if covered is not None:
            scores += coverage_score(covered)
        return ids[:, tf.newaxis], lengths[:, tf.newaxis], tf.cast(scores, tf.float32)[:, tf.newaxis]

    state = repeat_rows(state, width)
    logits = repeat_rows(logits, width)
    shapes = tf.nest.map_structure(_any_rows, state)
    candidates = tf.minimum(
        2 * width, width * vocabulary_size
    )  # each beam has one end: `width` others remain
    first_row = tf.range(rows)[:, tf.newaxis] * width
    impossible = tf.constant(_NEVER, tf.float64)

    def go_on(position: tf.Tensor, is_open: tf.Tensor, *_: Any) -> tf.Tensor:
        return tf.reduce_any(is_open)

    def extend(
        position: tf.Tensor,
        is_open: tf.Tensor,
        beam_ids: tf.Tensor,
        beam_scores: tf.Tensor,
        done_ids: tf.Tensor,
        done_lengths: tf.Tensor,
        done_scores: tf.Tensor,
        logits: tf.Tensor,
        state: State,
    ) -> tuple[Any, ...]:
        """One token more: beam_ids int32 [B, K, t], beam_scores (log p) float [B, K], done_… the finished."""
        # What is added up is float64: else rounding, which is another one in a batch, decides between texts
        # that differ by a millionth. The order of a beam's own tokens is that of the logits.
        best, tokens = tf.math.top_k(logits + barred, tf.minimum(candidates, vocabulary_size))
        best = tf.cast(best, tf.float64) - _log_normaliser(logits)
        log_probability, indices = tf.math.top_k(
            tf.reshape(tf.reshape(beam_scores, [-1, 1]) + best, [rows, -1]), candidates
        )
        beams = indices // tf.shape(best)[1]
        tokens = tf.gather(tf.reshape(tokens, [rows, -1]), indices, batch_dims=1)
        is_end = tokens == end_id
        stops = is_end | (position + 1 >= max_length)[:, tf.newaxis]

        finishes = stops & (tf.range(candidates) < width) & tf.math.is_finite(log_probability)
        scores = log_probability / penalty(position + 1)
        if coverage is not None:
            of_beams = tf.reshape(coverage_score(coverage(state)), [rows, width])
            scores += tf.gather(of_beams, beams, batch_dims=1)
        ids = tf.concat(
            [tf.gather(beam_ids, beams, batch_dims=1), tf.where(is_end, 0, tokens)[:, :, tf.newaxis]], axis=-1
        )
        done_scores, kept = tf.math.top_k(
            tf.concat([done_scores, tf.where(finishes, scores, impossible)], axis=1), width
        )
        done_ids = tf.concat([tf.pad(done_ids, [[0, 0], [0, 0], [0, 1]]), ids], axis=1)
        done_ids = tf.gather(done_ids, kept, batch_dims=1)
        lengths = position + 1 - tf.cast(is_end, tf.int32)
        done_lengths = tf.gather(tf.concat([done_lengths, lengths], axis=1), kept, batch_dims=1)

        beam_scores, kept = tf.math.top_k(tf.where(stops, impossible, log_probability), width)
        beams = tf.gather(beams, kept, batch_dims=1)
        tokens = tf.gather(tokens, kept, batch_dims=1)
        # log p only falls; divided by the greatest penalty that may come, it bounds all continuations'
        # scores, to which coverage adds nothing above 0.
        bound = beam_scores[:, 0] / tf.maximum(penalty(position + 2), penalty(max_length))
        is_open = (bound > done_scores[:, -1]) & ((width > 1) | tf.math.is_inf(done_scores[:, -1]))
        # A row that is searched through has no beams left, so that it stays as it is while others go on.
        beam_scores = tf.where(is_open[:, tf.newaxis], beam_scores, impossible)

        flat = tf.reshape(first_row + beams, [-1])
        state = tf.nest.map_structure(lambda tensor: tf.gather(tensor, flat), state)
        logits, state = step(tf.reshape(tokens, [-1]), state)
        return (
            position + 1,
            is_open,
            tf.gather(ids, kept, batch_dims=1),
            beam_scores,
            done_ids,
            done_lengths,
            done_scores,
            logits,
            tf.nest.map_structure(_with_shape, state, shapes),
        )

    nothing = tf.zeros([rows, width, 0], tf.int32)
    never = tf.fill([rows, width], impossible)
    finished = tf.while_loop(
        go_on,
        extend,
        (
            tf.constant(0),
            tf.fill([rows], True),
            nothing,
            # One beam at first: all of them hold the same, nothing.
            tf.where(tf.range(width) == 0, tf.zeros([], tf.float64), never),
            nothing,
            tf.zeros([rows, width], tf.int32),
            never,
            logits,
            state,
        ),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None]),
            tf.TensorShape([None, None, None]),
            tf.TensorShape([None, None]),
            tf.TensorShape([None, None, None]),
            tf.TensorShape([None, None]),
            tf.TensorShape([None, None]),
            _any_rows(logits),
            shapes,
        ),
    )
    _, _, _, _, ids, lengths, scores, _, _ = finished
    exists = tf.math.is_finite(scores)  # else what fills up holds whatever the last beams held
    lengths = tf.where(exists, lengths, 0)
    ids = tf.where(exists[:, :, tf.newaxis], ids, 0)
    return ids[:, :, : tf.reduce_max(lengths)], lengths, tf.cast(scores, tf.float32)


def _log_normaliser(logits: tf.Tensor) -> tf.Tensor:
    """Logarithm of Σ exp of logits, added up in float64: float32 [N, V] → float64 [N, 1]."""
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    total = tf.reduce_sum(tf.cast(tf.exp(logits - largest), tf.float64), axis=-1, keepdims=True)
    return tf.cast(largest, tf.float64) + tf.math.log(total)


def repeat_rows(nest: State, width: int | tf.Tensor) -> State:
    """Each row of each tensor `width` times in succession, as `beam_search` orders its rows.

    `repeat_rows([[1], [2]], 2) -> [[1], [1], [2], [2]]`
    """
    return tf.nest.map_structure(lambda tensor: tf.repeat(tensor, width, axis=0), nest)


def penalise_repetition(logits: tf.Tensor, recent: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Makes tokens less likely that stand in the recent text (Keskar et al. 2019, section 4.1).

    A positive logit is divided by the penalty; a negative one is multiplied by it, for which the
    division of the paper would make it likelier. A token that stands there twice is penalised once.

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
    """Sorts tokens and keeps the likeliest, by number (Fan et al. 2018) and by mass (Holtzman et al. 2020).

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
    scores = tf.where(rank < most, scores, _NEVER)
    mass_before = tf.cumsum(tf.nn.softmax(scores), axis=-1, exclusive=True)
    top_p = top_p[:, tf.newaxis]
    # The sum's rounding must not cut where nothing is to be cut.
    kept = (rank == 0) | (mass_before < top_p) | (top_p >= 1)
    return tf.where(kept, scores, _NEVER), ids


def gumbel_noise(seed: tf.Tensor, position: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Noise of the standard Gumbel distribution, a pure function of (seed, position, token id).

    A counter-based generator: the three numbers are hashed one after the other with the 32-bit finalizer
    of MurmurHash3 (Appleby 2011). So all rows are drawn at once, each by its own seed, where TensorFlow's
    own generators take one seed for a whole tensor.

    Args:
        seed: int32 [B].
        position: of the token in the text, int32 [].
        ids: token ids int32 [B, V] or [1, V].

    Returns:
        float [B, V].
    """
    key = _hash(tf.bitcast(seed, tf.uint32) + _word(0x9E3779B9))
    key = _hash(key ^ _hash(tf.bitcast(position, tf.uint32) + _word(0x85EBCA77)))
    bits = _hash(key[:, tf.newaxis] + tf.bitcast(ids, tf.uint32) * _word(0x9E3779B9))
    # Small uniforms make the large noise that wins: they keep all 32 bits, which near 1 would be lost.
    uniform = (tf.cast(bits, tf.float32) + 0.5) * 2.0**-32
    return -tf.math.log(-tf.math.log1p(-tf.minimum(uniform, 1 - 2.0**-24)))


def truncate_at(texts: tf.Tensor, stops: Sequence[str] | tf.Tensor) -> tf.Tensor:
    r"""Cuts texts before the first place where any of the stops stands.

    Args:
        texts: string [B], any bytes.
        stops: string [K], UTF-8; an empty one stops nothing.

    Returns:
        string [B]. `truncate_at(["one\n\ntwo"], ["\n\n"]) -> ["one"]`
    """
    stops = tf.reshape(tf.convert_to_tensor(stops, tf.string), [-1])
    stops = tf.boolean_mask(stops, tf.strings.length(stops) > 0)
    literals = tf.strings.regex_replace(stops, r"([!-/:-@\[-`{-~])", r"\\\1")
    # RE2 takes the leftmost match of all; \C is any byte, of invalid UTF-8 too.
    pattern = tf.strings.join(["(?:", tf.strings.reduce_join(literals, separator="|"), r")\C*"])
    return tf.cond(
        tf.size(stops) > 0,
        lambda: tf.strings.regex_replace(texts, pattern, "", replace_global=False),
        lambda: tf.identity(texts),
    )


def _emit(
    step: Step,
    state: State,
    logits: tf.Tensor,
    choose: Choice,
    *,
    length: tf.Tensor,
    end_id: int | tf.Tensor,
    coverage: Callable[[State], tf.Tensor] | None = None,
    emitted: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | None, State, tf.Tensor]:
    """One text a row.

    Returns ids [B, T], lengths [B], log p [B], the coverage [B, S] at its last token, state and logits.
    """
    rows = tf.shape(logits)[0]
    before = tf.zeros([rows, 0], tf.int32) if emitted is None else emitted
    past = tf.shape(before)[1]
    shapes = tf.nest.map_structure(_any_rows, state)
    covered = () if coverage is None else (coverage(state),)
    size = tf.maximum(tf.reduce_max(length), 1)

    def go_on(position: tf.Tensor, goes_on: tf.Tensor, *_: Any) -> tf.Tensor:
        # A first round even if no row wants a token: an empty array can't be stacked.
        return (position == 0) | tf.reduce_any(goes_on)

    def emit(
        position: tf.Tensor,
        goes_on: tf.Tensor,
        written: tf.TensorArray,
        recent: tf.Tensor,
        lengths: tf.Tensor,
        log_probability: tf.Tensor,
        covered: tuple[tf.Tensor, ...],
        logits: tf.Tensor,
        state: State,
    ) -> tuple[Any, ...]:
        ids = choose(logits, past + position, recent)
        chosen = tf.gather(logits, ids, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)
        log_probability += tf.where(goes_on, chosen, 0.0)
        if coverage is not None:
            covered = (tf.where(goes_on[:, tf.newaxis], coverage(state), covered[0]),)
        goes_on &= ids != end_id
        ids = tf.where(goes_on, ids, 0)
        lengths += tf.cast(goes_on, tf.int32)
        goes_on &= position + 1 < length
        logits, state = step(ids, state)
        return (
            position + 1,
            goes_on,
            written.write(position, ids),
            tf.concat([recent, ids[:, tf.newaxis]], axis=1)[:, -REPETITION_WINDOW:],
            lengths,
            log_probability,
            covered,
            logits,
            tf.nest.map_structure(_with_shape, state, shapes),
        )

    _, _, written, _, lengths, log_probability, covered, logits, state = tf.while_loop(
        go_on,
        emit,
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
            tf.nest.map_structure(_any_rows, covered),
            _any_rows(logits),
            shapes,
        ),
        maximum_iterations=size,
    )
    ids = tf.transpose(written.stack())[:, : tf.reduce_max(lengths)]
    return ids, lengths, log_probability, covered[0] if covered else None, state, logits


def _barred(forbidden: Sequence[int] | tf.Tensor, vocabulary_size: tf.Tensor) -> tf.Tensor:
    """What is added to logits so that some tokens are never chosen: float [V], 0 or -inf."""
    forbidden = tf.cast(tf.convert_to_tensor(forbidden, tf.int32), tf.int32)
    is_forbidden = tf.reduce_any(tf.range(vocabulary_size)[:, tf.newaxis] == forbidden, axis=1)
    return tf.where(is_forbidden, _NEVER, 0.0)


def _any_rows(tensor: tf.Tensor) -> tf.TensorShape:
    return tf.TensorShape([None, *tensor.shape[1:]])


def _with_shape(tensor: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    # A step may lose what was known of its state's shape; a loop's variables must not.
    return tf.ensure_shape(tensor, shape)


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)


def _hash(words: tf.Tensor) -> tf.Tensor:
    """Mixes each uint32's bits so that each one of the input changes half of the output's (MurmurHash3)."""
    words = (words ^ tf.bitwise.right_shift(words, _word(16))) * _word(0x85EBCA6B)
    words = (words ^ tf.bitwise.right_shift(words, _word(13))) * _word(0xC2B2AE35)
    return words ^ tf.bitwise.right_shift(words, _word(16))
