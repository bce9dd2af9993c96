from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from markov_chain import END, PADDING, VOCABULARY, Array, Chain, greedy, texts

from models.decoding.beam import beam_search, repeat_rows


def reference(
    chain: Chain, row: int, length: int, width: int, alpha: float, beta: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Return the best texts of a beam search without an early stop, with end tokens and scores."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    for position in range(length):
        candidates = sorted(
            (
                (log_p + of_token, (*text, token))
                for log_p, text in live
                for token, of_token in enumerate(chain.log_p(row, text))
                if token != PADDING
            ),
            reverse=True,
        )
        last = position + 1 == length
        done += [
            (chain.score(row, text, alpha, beta), text)
            for _, text in candidates[:width]
            if last or text[-1] == END
        ]
        live = [(log_p, text) for log_p, text in candidates if text[-1] != END][:width]
    return sorted(done, reverse=True)[:width]


def every_text(vocabulary: int, length: int) -> list[tuple[int, ...]]:
    """Return all texts that end, or that have the maximum length."""
    words = [token for token in range(vocabulary) if token not in (PADDING, END)]
    whole = [(*text, END) for shorter in range(length) for text in itertools.product(words, repeat=shorter)]
    return whole + list(itertools.product(words, repeat=length))


PENALTIES = [(0.0, 0.0), (0.6, 0.0), (1.5, 0.0), (-0.7, 0.0), (0.0, 0.5), (1.0, 0.3)]


@functools.cache
def searcher(seed: int, vocabulary: int, greedy: bool) -> Callable[..., Any]:
    """Return one graph for all widths (or for greedy search) and penalties, as in an export."""
    chain = Chain(seed, vocabulary)
    number = tf.TensorSpec([], tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, vocabulary]),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int32),
            number,
            number,
        ]
    )
    def search(logits: Any, max_length: Any, width: Any, alpha: Any, beta: Any) -> Any:
        before = tf.zeros_like(max_length)
        return beam_search(
            chain.step,
            {"before": before, "seen": (chain.looks(before),)},
            logits,
            end_id=END,
            max_length=max_length,
            width=1 if greedy else width,
            length_penalty=alpha,
            coverage_penalty=beta,
            coverage=chain.coverage,
            forbidden=(PADDING,),
        )

    return search


def search(
    chain: Chain, max_length: Array, width: int, alpha: float = 0.0, beta: float = 0.0, greedy: bool = False
) -> list[Array]:
    logits, _ = chain.start(len(max_length))
    graph = searcher(chain.seed, len(chain.table), greedy)
    return [output.numpy() for output in graph(logits, max_length, width, alpha, beta)]


@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
def test_a_beam_for_all_is_exhaustive(alpha: float, beta: float) -> None:
    """A beam as wide as the number of texts finds all of them, in the order of their scores."""
    chain = Chain(6, vocabulary=4)
    ids, lengths, scores = search(chain, np.full(3, 4), 40, alpha, beta)

    for row in range(3):
        expected = sorted(
            ((chain.score(row, text, alpha, beta), text) for text in every_text(4, 4)), reverse=True
        )
        assert len(expected) == 31
        np.testing.assert_allclose(scores[row, :31], [score for score, _ in expected], rtol=1e-4)
        for got, (_, text) in zip(texts(ids[row], lengths[row]), expected, strict=False):
            assert got == tuple(token for token in text if token != END)
        assert np.all(scores[row, 31:] == -np.inf)
        assert not np.any(ids[row, 31:])
        assert not np.any(lengths[row, 31:])


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
def test_an_early_stop_loses_nothing(width: int, alpha: float, beta: float) -> None:
    """Rows of different maximum lengths have the same texts as a search without an early stop."""
    chain = Chain(7)
    most = np.array([9, 4, 1, 7, 9, 9, 2])
    ids, lengths, scores = search(chain, most, width, alpha, beta)

    for row, length in enumerate(most):
        expected = reference(chain, row, length, width, alpha, beta)
        np.testing.assert_allclose(scores[row], [score for score, _ in expected], rtol=1e-4, atol=1e-5)
        assert texts(ids[row], lengths[row]) == [
            tuple(token for token in text if token != END) for _, text in expected
        ]
    assert ids.shape == (7, width, lengths.max())


def sure(token_ids: tf.Tensor, state: tuple[()]) -> tuple[tf.Tensor, tuple[()]]:
    """Return logits for which the end is likely after 2, and 3 repeats for ever."""
    after = tf.constant([[0, 0, 0, 0], [0, 0, 0, 0], [1e-9, 0.9, 1e-9, 0.1], [1e-9, 1e-9, 1e-9, 1.0]])
    return tf.math.log(tf.gather(after, token_ids) + 1e-12), state


def test_a_long_text_may_still_win() -> None:
    """Finished texts with the best scores so far do not end the search for longer, better texts."""
    first = tf.math.log([[1e-9, 0.5, 0.4, 0.1]])
    ids, lengths, _ = beam_search(sure, (), first, end_id=END, max_length=30, width=2, length_penalty=1.5)

    assert texts(ids[0].numpy(), lengths[0].numpy()) == [(3,) * 30, (2, *(3,) * 29)]


@pytest.mark.parametrize("width", [1, tf.constant(1)])
def test_a_beam_of_one_stops_at_its_end(width: Any) -> None:
    """A width of 1 stops at the first end, even if a longer text would have a better score."""
    first = tf.math.log([[1e-9, 0.5, 0.1, 0.4]])
    _, lengths, scores = beam_search(
        sure, (), first, end_id=END, max_length=30, width=width, length_penalty=1.5
    )

    assert lengths.numpy().tolist() == [[0]]
    assert float(scores[0, 0]) == pytest.approx(np.log(0.5))


def test_it_stops_when_nothing_can_get_better() -> None:
    """If the end is almost certain, the search takes no more steps than the finished texts need."""
    calls = tf.Variable(0)

    def step(token_ids: tf.Tensor, state: tuple[()]) -> tuple[tf.Tensor, tuple[()]]:
        calls.assign_add(1)
        return tf.tile([[-20.0, 9.0, 0.0]], [tf.shape(token_ids)[0], 1]), state

    beam_search(step, (), tf.constant([[-20.0, 9.0, 0.0]]), end_id=END, max_length=100, width=2)

    assert calls.numpy() == 2


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
def test_a_beam_of_one_is_greedy(is_known: bool, alpha: float, beta: float) -> None:
    """A width of 1 yields greedy texts and their scores, as a Python number and as a tensor."""
    chain = Chain(8)
    most = np.array([12, 1, 6, 5, 12, 12, 12])
    ids, lengths, scores = search(chain, most, 1, alpha, beta, greedy=is_known)
    got = texts(ids[:, 0], lengths[:, 0])

    assert 0 < np.sum(lengths[:, 0] < most) < 7
    for row, length in enumerate(most):
        assert got[row] == greedy(chain, row, length, (PADDING,))[0]
        whole = (*got[row], END) if len(got[row]) < length else got[row]
        assert scores[row, 0] == pytest.approx(chain.score(row, whole, alpha, beta), rel=1e-4)


def test_wider_beams_find_better_texts() -> None:
    """The mean of the best scores of many rows increases with the width."""
    chain = Chain(11, vocabulary=40)
    one, four, eight = (search(chain, np.full(40, 8), width)[2][:, 0].mean() for width in (1, 4, 8))

    assert one + 0.1 < four < eight


def test_beams_of_rows_do_not_depend_on_each_other() -> None:
    """A row's texts are the same alone and in another order."""
    chain = Chain(9)
    logits, state = chain.start(VOCABULARY)
    most = np.array([8, 3, 8, 5, 8, 8, 1])

    def found(rows: list[int]) -> list[Any]:
        ids, lengths, scores = beam_search(
            chain.step,
            tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), state),
            tf.gather(logits, rows),
            end_id=END,
            max_length=most[rows],
            width=3,
            length_penalty=0.8,
        )
        return [
            (texts(ids[i].numpy(), lengths[i].numpy()), np.round(scores[i], 4).tolist())
            for i in range(len(rows))
        ]

    together = found(list(range(VOCABULARY)))
    assert found([5, 1, 6, 0]) == [together[row] for row in (5, 1, 6, 0)]
    assert [found([row])[0] for row in range(VOCABULARY)] == together


def test_repeat_rows() -> None:
    """Each row of every tensor is repeated `width` times in succession."""
    got = repeat_rows({"a": tf.constant([[1, 2], [3, 4]]), "b": (tf.constant([5, 6]),)}, 2)

    assert got["a"].numpy().tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert got["b"][0].numpy().tolist() == [5, 5, 6, 6]


def test_small_differences_add_up() -> None:
    """Of long texts whose scores differ by a few ten-millionths, the better one wins."""
    first, second, go_on = 2, 3, 4

    def logits(bonus: tf.Tensor) -> tf.Tensor:
        return tf.stack([*([tf.fill(tf.shape(bonus), -1.0)] * 4), bonus], axis=1)

    def step(ids: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, Any]:
        began, position = state
        began = tf.where(position == 0, ids, began)
        bonus = tf.where((position == 20) & (began == second), 2.4e-6, 0.0)
        return logits(bonus), (began, position + 1)

    beginning = tf.constant([[-9.0, -9.0, 0.0, -1e-6, -9.0]])
    none = tf.zeros([1], tf.int32)
    ids, _, scores = beam_search(step, (none, none), beginning, end_id=END, max_length=27, width=2)

    assert ids[0, :, 0].numpy().tolist() == [second, first]
    assert float(scores[0, 0]) == pytest.approx(float(scores[0, 1]), abs=2e-6)
    assert np.all(ids[0, :, 1:] == go_on)
