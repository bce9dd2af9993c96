from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.decoding.beam import beam_search, repeat_rows
from models.decoding.constraints import keep_likely, penalise_repetition
from models.decoding.emit import REPETITION_WINDOW
from models.decoding.noise import gumbel_noise
from models.decoding.sampling import sample
from models.decoding.truncate import truncate_at

Array = NDArray[Any]

PADDING, END = 0, 1
VOCABULARY = 7
SOURCE = 3  # positions that a step looks at


class Chain:
    """A random second-order Markov chain that looks at a source.

    Its state is the token before the last one and the attention so far: one in the wrong row shows.
    """

    def __init__(self, seed: int, vocabulary: int = VOCABULARY, scale: float = 1.5) -> None:
        generator = np.random.default_rng(seed)
        self.seed = seed
        self.table = generator.normal(scale=scale, size=(vocabulary, vocabulary, vocabulary))
        self.attention = generator.dirichlet(np.full(SOURCE, 0.5), size=vocabulary)

    def start(self, rows: int) -> tuple[tf.Tensor, dict[str, Any]]:
        """Each row starts elsewhere: after the tokens (row, 0)."""
        first = np.arange(rows) % len(self.table)
        logits = tf.constant(self.table[first, 0], tf.float32)
        return logits, {"before": tf.zeros([rows], tf.int32), "seen": (self.looks(np.zeros(rows, int)),)}

    def looks(self, token_ids: Any) -> tf.Tensor:
        return tf.gather(tf.constant(self.attention, tf.float32), token_ids)

    def step(self, token_ids: tf.Tensor, state: dict[str, Any]) -> tuple[tf.Tensor, dict[str, Any]]:
        logits = tf.gather_nd(
            tf.constant(self.table, tf.float32), tf.stack([state["before"], token_ids], axis=1)
        )
        return logits, {"before": token_ids, "seen": (state["seen"][0] + self.looks(token_ids),)}

    @staticmethod
    def coverage(state: dict[str, Any]) -> tf.Tensor:
        return state["seen"][0]

    def logits(self, row: int, emitted: tuple[int, ...]) -> Array:
        """What follows, in NumPy: float [V]."""
        if not emitted:
            return self.table[row % len(self.table), 0]
        return self.table[(0, *emitted)[-2], emitted[-1]]

    def log_p(self, row: int, emitted: tuple[int, ...]) -> Array:
        logits = self.logits(row, emitted)
        return logits - np.log(np.sum(np.exp(logits)))

    def score(self, row: int, text: tuple[int, ...], alpha: float, beta: float) -> float:
        """The score of a text, its end included."""
        log_p = sum(self.log_p(row, text[:i])[token] for i, token in enumerate(text))
        covered = self.attention[0] + sum(self.attention[token] for token in text[:-1])
        lasting = ((5 + len(text)) / 6) ** alpha
        return log_p / lasting + beta * float(np.sum(np.log(np.minimum(covered, 1))))


def run(chain: Chain, rows: int, **options: Any) -> list[Array]:
    """Sample as a graph does it, of a batch size unknown to it: ids, lengths, log p."""

    @tf.function(input_signature=[tf.TensorSpec([None, len(chain.table)]), tf.TensorSpec([None], tf.int32)])
    def graph(logits: tf.Tensor, before: tf.Tensor) -> Any:
        state = {"before": before, "seen": (chain.looks(tf.zeros_like(before)),)}
        return sample(chain.step, state, logits, **options)

    logits, state = chain.start(rows)
    return [output.numpy() for output in graph(logits, state["before"])[:3]]


def texts(ids: Array, lengths: Array) -> list[tuple[int, ...]]:
    return [tuple(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]


def greedy(
    chain: Chain, row: int, length: int, forbidden: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], float]:
    """A greedy text without its end, and its log p with it."""
    text: tuple[int, ...] = ()
    total = 0.0
    while len(text) < length:
        logits = chain.logits(row, text).copy()
        logits[list(forbidden)] = -np.inf
        token = int(np.argmax(logits))
        total += chain.log_p(row, text)[token]
        if token == END:
            break
        text = (*text, token)
    return text, total


# Sampling


def test_temperature_of_zero_is_greedy() -> None:
    """Each row is the loop that takes the best token, to its end or its own length, zeros beyond it."""
    chain = Chain(0)
    length = np.array([12, 1, 0, 5, 12, 12, 12])
    ids, lengths, log_p = run(
        chain, 7, length=length, temperature=0.0, seed=3, end_id=END, forbidden=(PADDING,)
    )

    expected = [greedy(chain, row, most, (PADDING,)) for row, most in enumerate(length)]
    assert {len(text) for text, _ in expected} >= {0, 1, 5, 12}
    assert any(len(text) < most for (text, _), most in zip(expected, length, strict=True))
    assert texts(ids, lengths) == [text for text, _ in expected]
    assert ids.shape == (7, 12)
    assert not np.any(ids[np.arange(12) >= lengths[:, np.newaxis]])
    np.testing.assert_allclose(log_p, [total for _, total in expected], rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7, "top_k": 4, "top_p": 0.9, "repetition_penalty": 1.3}]
)
def test_log_p_is_the_models_own(options: dict[str, float]) -> None:
    """However a text was drawn, its log p is what the model gives to it, its end included."""
    chain = Chain(1)
    ids, lengths, log_p = run(chain, 40, length=9, seed=tf.range(40), end_id=END, **options)

    assert 0 < np.sum(lengths < 9) < 40
    for row, text in enumerate(texts(ids, lengths)):
        whole = (*text, END) if len(text) < 9 else text
        expected = sum(chain.log_p(row, whole[:i])[token] for i, token in enumerate(whole))
        assert log_p[row] == pytest.approx(expected, rel=1e-4)


def test_without_end_all_rows_are_full() -> None:
    """Without an end each row has its length, and a batch of none wanted is empty."""
    chain = Chain(2)

    assert run(chain, 3, length=[4, 9, 6])[1].tolist() == [4, 9, 6]
    ids, lengths, log_p = run(chain, 3, length=0)
    assert ids.shape == (3, 0)
    assert lengths.tolist() == log_p.tolist() == [0, 0, 0]


def test_rows_do_not_depend_on_each_other() -> None:
    """A seed gives the same text alone, in another order, and beside other rows with other settings."""
    chain = Chain(3)
    logits, state = chain.start(VOCABULARY)
    seeds = np.arange(VOCABULARY) * 11
    settings = {
        "temperature": np.linspace(0, 2, VOCABULARY),
        "top_k": np.array([0, 3, 0, 5, 0, 2, 0]),
        "top_p": np.array([1, 1, 0.8, 0.9, 1, 1, 0.5]),
        "repetition_penalty": np.array([1, 1, 1, 1.5, 2, 1, 1]),
        "length": np.array([20, 20, 3, 9, 20, 20, 20]),
    }

    def drawn(rows: list[int]) -> list[tuple[tuple[int, ...], float]]:
        ids, lengths, log_p, *_ = sample(
            chain.step,
            tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), state),
            tf.gather(logits, rows),
            seed=seeds[rows],
            end_id=END,
            **{name: value[rows] for name, value in settings.items()},
        )
        return list(zip(texts(ids.numpy(), lengths), np.round(log_p, 3).tolist(), strict=True))

    together = drawn(list(range(VOCABULARY)))
    assert drawn([4, 2, 6, 0]) == [together[row] for row in (4, 2, 6, 0)]
    assert [drawn([row])[0] for row in range(VOCABULARY)] == together


def test_a_text_in_pieces() -> None:
    """Calls that go on where another one stopped emit what one call does, with all that it draws from."""
    chain = Chain(12)
    options: dict[str, Any] = {"seed": np.arange(7), "top_p": 0.9, "repetition_penalty": 1.5}
    whole = run(chain, 7, length=90, **options)
    logits, state = chain.start(7)
    emitted = tf.zeros([7, 0], tf.int32)
    log_p = np.zeros(7)
    piece = tf.function(
        lambda *args: sample(chain.step, *args[:2], length=args[2], emitted=args[3], **options)
    )
    for length in (1, 3, 70, 16):
        ids, _, of_piece, state, logits = piece(state, logits, length, emitted)
        emitted = tf.concat([emitted, ids], axis=1)
        log_p += of_piece

    np.testing.assert_array_equal(emitted, whole[0])
    np.testing.assert_allclose(log_p, whole[2], rtol=1e-4)


def test_seeds() -> None:
    """Other seeds give other texts, and the positions of a text draw anew."""
    chain = Chain(4, scale=0.0)
    ids, *_ = run(chain, 500, length=20, seed=np.arange(500))

    assert len({tuple(row) for row in ids}) == 500
    np.testing.assert_allclose(np.bincount(ids.ravel()) / ids.size, 1 / VOCABULARY, atol=0.02)
    assert abs(np.mean(ids[:, 1:] == ids[:, :-1]) - 1 / VOCABULARY) < 0.02
    assert abs(np.mean(ids[1:] == ids[:-1]) - 1 / VOCABULARY) < 0.02


LOGITS = np.array([0.5, 2.0, -1.0, 1.0, 1.0, -3.0])


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 4, 5]),
        ({"temperature": 3.0}, [0, 1, 2, 3, 4, 5]),
        ({"top_k": 1}, [1]),
        ({"top_k": 2}, [1, 3]),  # 3 and 4 are alike
        ({"top_k": 4}, [0, 1, 3, 4]),
        ({"top_k": 100}, [0, 1, 2, 3, 4, 5]),
        ({"top_k": -1}, [0, 1, 2, 3, 4, 5]),
        ({"top_p": 0.0}, [1]),
        ({"top_p": 0.49}, [1]),  # 0.496
        ({"top_p": 0.5}, [1, 3]),
        ({"top_p": 0.6}, [1, 3]),
        ({"top_p": 0.75}, [1, 3, 4]),
        ({"top_p": 0.6, "temperature": 3.0}, [1, 3, 4]),
        ({"top_p": 0.7, "top_k": 3}, [1, 3]),  # of what three hold, 0.58 + 0.21
        ({"top_p": 0.9999, "temperature": 0.5}, [0, 1, 2, 3, 4]),
        ({"forbidden": [1, 3]}, [0, 2, 4, 5]),
        ({"forbidden": [1], "top_k": 2}, [3, 4]),
    ],
)
def test_distribution(options: dict[str, Any], kept: list[int]) -> None:
    """What is kept is drawn as often as the softmax of the logits over the temperature says."""
    rows = 20_000
    ids, *_ = sample(
        lambda ids, state: (tf.zeros([tf.shape(ids)[0], 6]), state),
        (),
        tf.tile(tf.constant(LOGITS[np.newaxis], tf.float32), [rows, 1]),
        length=1,
        seed=tf.range(rows),
        **options,
    )
    expected = np.zeros(6)
    expected[kept] = np.exp(LOGITS[kept] / options.get("temperature", 1.0))
    expected /= expected.sum()
    drawn = np.bincount(ids[:, 0], minlength=6)

    assert not np.any(drawn[expected == 0])
    # The sum of squared, standardised differences; of 5 degrees of freedom it passes 25 once in 7,000 times.
    assert np.sum((drawn - rows * expected)[kept] ** 2 / (rows * expected[kept])) < 25


def test_what_comes_to_greedy() -> None:
    """A tiny temperature, one token, or a tiny mass leave the best token alone."""
    chain = Chain(5)
    settings = [{"temperature": 1e-30}, {"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-9}]
    defaults = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    values = {
        name: np.repeat([options.get(name, default) for options in settings], 2)
        for name, default in defaults.items()
    }
    ids, lengths, _ = run(chain, 8, length=10, end_id=END, seed=np.arange(8), **values)

    assert texts(ids, lengths) == [greedy(chain, row, 10)[0] for row in range(8)]


def test_equals_go_to_the_lowest_id() -> None:
    """Among equal logits greedy takes the lowest id, and top-k keeps the lowest ones."""
    scores, ids = keep_likely(tf.constant([[1.0, 2.0, 1.0, 1.0]]), tf.constant([3]), tf.constant([1.0]))
    assert ids.numpy()[0, :3].tolist() == [1, 0, 2]
    assert np.isfinite(scores[0]).tolist() == [True, True, True, False]

    ids, *_ = sample(lambda ids, s: (tf.zeros([1, 4]), s), (), tf.zeros([1, 4]), length=2, temperature=0.0)
    assert ids.numpy().tolist() == [[0, 0]]


def test_mass_that_is_reached_exactly() -> None:
    """The kept tokens are the fewest that reach the mass; a mass of 1 keeps tokens lost in rounding too."""
    halves = tf.math.log([[0.5, 0.25, 0.125, 0.125]])
    assert np.sum(np.isfinite(keep_likely(halves, tf.constant([0]), tf.constant([0.75]))[0])) == 2

    steep = tf.constant([[100.0, 90.0, 0.0, -20.0]])
    assert np.all(np.isfinite(keep_likely(steep, tf.constant([0]), tf.constant([1.0]))[0]))


def test_penalty() -> None:
    """Logits of tokens that were there go down once, whatever their sign; other tokens and rows stay."""
    logits = tf.constant([[2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0]])
    recent = tf.constant([[0, 1, 0], [3, 3, 3], [0, 1, 2]])
    got = penalise_repetition(logits, recent, tf.constant([2.0, 4.0, 1.0]))

    assert got.numpy().tolist() == [[1, -4, 1, -1], [2, -2, 1, -4], [2, -2, 1, -1]]


def test_penalty_forgets() -> None:
    """A token is free again when the window has passed; a row without a penalty repeats itself."""
    vocabulary = REPETITION_WINDOW + 6
    logits = tf.tile(tf.linspace(2.0, 1.0, vocabulary)[tf.newaxis], [2, 1])
    ids, *_ = sample(
        lambda ids, state: (logits, state),
        (),
        logits,
        length=REPETITION_WINDOW + 3,
        temperature=0.0,
        repetition_penalty=[100.0, 1.0],
    )

    assert ids[0].numpy().tolist() == [*range(REPETITION_WINDOW + 1), 0, 1]
    assert not np.any(ids[1])


def hashed(words: Array) -> Array:
    """MurmurHash3's finalizer, on uint32."""
    words = words.astype(np.uint32)
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return words ^ (words >> np.uint32(16))


def noise(seeds: Array, position: int, vocabulary: int) -> Array:
    ids = tf.range(vocabulary)[tf.newaxis]
    return gumbel_noise(tf.constant(seeds, tf.int32), tf.constant(position), ids).numpy()


def test_noise_in_numpy() -> None:
    """The noise is the hash of seed, position and id: a text of some seed is the same in every version."""
    seeds = np.array([0, 1, -1, 2**31 - 1, -(2**31)])
    golden = np.uint32(0x9E3779B9)
    key = hashed(seeds.astype(np.int32).view(np.uint32) + golden)
    key = hashed(key ^ hashed(np.full(1, 7, np.uint32) + np.uint32(0x85EBCA77)))
    bits = hashed(key[:, np.newaxis] + np.arange(50, dtype=np.uint32) * golden)
    uniform = (bits + 0.5) / 2**32

    np.testing.assert_allclose(noise(seeds, 7, 50), -np.log(-np.log1p(-uniform)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("varied", ["ids", "seeds", "positions"])
def test_noise_is_uniform(varied: str) -> None:
    """Whichever of its numbers counts up, the noise is a Gumbel distribution's, without a pattern."""
    size = 1 << 16
    draws = {
        "ids": lambda: noise(np.array([5]), 3, size)[0],
        "seeds": lambda: noise(np.arange(size), 3, 5)[:, 4],
        "positions": lambda: np.array(
            [noise(np.array([5]), position, 64)[0] for position in range(size // 64)]
        ),
    }[varied]()
    uniform = np.exp(-np.exp(-draws.astype(np.float64))).ravel()
    counts = np.bincount((uniform * 256).astype(int), minlength=256)

    assert np.all(np.isfinite(draws))
    # Chi-square of 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert abs(np.sum((counts - size / 256) ** 2 / (size / 256)) - 255) < 5 * 22.6
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(uniform[lag:], uniform[:-lag])[0, 1]) < 5 / np.sqrt(size)
    # The winners' end is the finest: the greatest of 65,536 is where it should be, and no two are equal.
    assert 8 < draws.max() < 18
    top = np.sort(draws.ravel())[-100:]
    assert len(np.unique(top)) == 100


# Beam search


def reference(
    chain: Chain, row: int, length: int, width: int, alpha: float, beta: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Beam search without an early stop: the best texts, each with its end, and their scores."""
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
    """All texts that end, or that are as long as can be."""
    words = [token for token in range(vocabulary) if token not in (PADDING, END)]
    whole = [(*text, END) for shorter in range(length) for text in itertools.product(words, repeat=shorter)]
    return whole + list(itertools.product(words, repeat=length))


PENALTIES = [(0.0, 0.0), (0.6, 0.0), (1.5, 0.0), (-0.7, 0.0), (0.0, 0.5), (1.0, 0.3)]


@functools.cache
def searcher(seed: int, vocabulary: int, greedy: bool) -> Callable[..., Any]:
    """One graph for all widths (or for greedy search) and penalties, as a served one is."""
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
    """A beam as wide as there are texts finds them all, in the order of their scores."""
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
    """Rows of different greatest lengths give what a search to the very end gives, all of their texts."""
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
    """After 2 the end is likely, and 3 goes on for ever."""
    after = tf.constant([[0, 0, 0, 0], [0, 0, 0, 0], [1e-9, 0.9, 1e-9, 0.1], [1e-9, 1e-9, 1e-9, 1.0]])
    return tf.math.log(tf.gather(after, token_ids) + 1e-12), state


def test_a_long_text_may_still_win() -> None:
    """Finished texts that beat all unfinished ones now do not end a search for longer and better ones."""
    first = tf.math.log([[1e-9, 0.5, 0.4, 0.1]])
    ids, lengths, _ = beam_search(sure, (), first, end_id=END, max_length=30, width=2, length_penalty=1.5)

    assert texts(ids[0].numpy(), lengths[0].numpy()) == [(3,) * 30, (2, *(3,) * 29)]


@pytest.mark.parametrize("width", [1, tf.constant(1)])
def test_a_beam_of_one_stops_at_its_end(width: Any) -> None:
    """A width of 1 is content with the first end, also where a longer text would have a better score."""
    first = tf.math.log([[1e-9, 0.5, 0.1, 0.4]])
    _, lengths, scores = beam_search(
        sure, (), first, end_id=END, max_length=30, width=width, length_penalty=1.5
    )

    assert lengths.numpy().tolist() == [[0]]
    assert float(scores[0, 0]) == pytest.approx(np.log(0.5))


def test_it_stops_when_nothing_can_get_better() -> None:
    """Where the end is all but certain, steps are as few as the finished texts need."""
    calls = tf.Variable(0)

    def step(token_ids: tf.Tensor, state: tuple[()]) -> tuple[tf.Tensor, tuple[()]]:
        calls.assign_add(1)
        return tf.tile([[-20.0, 9.0, 0.0]], [tf.shape(token_ids)[0], 1]), state

    beam_search(step, (), tf.constant([[-20.0, 9.0, 0.0]]), end_id=END, max_length=100, width=2)

    assert calls.numpy() == 2


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), PENALTIES)
def test_a_beam_of_one_is_greedy(is_known: bool, alpha: float, beta: float) -> None:
    """A width of 1 gives greedy texts, whether the graph knows of it or not, with a beam's scores."""
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
    """In the mean over many rows, the best score rises with the width."""
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
    """Each row stands as often as the beam is wide, one's own beside each other, in every tensor."""
    got = repeat_rows({"a": tf.constant([[1, 2], [3, 4]]), "b": (tf.constant([5, 6]),)}, 2)

    assert got["a"].numpy().tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert got["b"][0].numpy().tolist() == [5, 5, 6, 6]


# Stops


@pytest.mark.parametrize(
    ("stops", "cut"),
    [
        (["b"], ["a", "", "xyz", "", "c\xff"]),
        (["\n\n", "c"], ["ab", "b", "xyz", "", ""]),
        (["cab", "b"], ["a", "", "xyz", "", "c\xff"]),
        (["yz", "y"], ["abcab", "b\n\n\nb", "x", "", "c\xffb"]),
        ([""], ["abcab", "b\n\n\nb", "xyz", "", "c\xffb"]),
        ([], ["abcab", "b\n\n\nb", "xyz", "", "c\xffb"]),
        (["", "z"], ["abcab", "b\n\n\nb", "xy", "", "c\xffb"]),
        (["."], ["abcab", "b\n\n\nb", "xyz", "", "c\xffb"]),
    ],
)
def test_truncate_at(stops: list[str], cut: list[str]) -> None:
    """Texts end before the first place of any stop, whatever stands behind it."""
    rows = tf.constant([text.encode("latin-1") for text in ("abcab", "b\n\n\nb", "xyz", "", "c\xffb")])
    expected = [text.encode("latin-1") for text in cut]

    assert truncate_at(rows, stops).numpy().tolist() == expected
    assert truncate_at(rows, tf.constant(stops, tf.string)).numpy().tolist() == expected


def test_stops_are_no_patterns() -> None:
    """Each sign of a stop stands for itself, of any script."""
    signs = "".join(chr(code) for code in range(32, 127))
    assert truncate_at(tf.constant([f"a{signs}"]), [signs]).numpy().tolist() == [b"a"]
    for sign in signs + "\t\né—字\U0001f600":
        assert truncate_at(tf.constant([f"A{sign}a", "字_字"]), [sign])[0].numpy() == (
            b"" if sign == "A" else b"A"
        )


def test_in_a_saved_model(tmp_path: Path) -> None:
    """A session that knows nothing of this program decodes alike."""
    chain = Chain(10)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, VOCABULARY]),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def decode(logits: tf.Tensor, seed: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        state = {"before": tf.zeros_like(seed), "seen": (chain.looks(tf.zeros_like(seed)),)}
        ids, _, log_p, *_ = sample(
            chain.step, state, logits, length=8, seed=seed, top_p=0.9, repetition_penalty=1.2, end_id=END
        )
        beams, _, scores = beam_search(chain.step, state, logits, end_id=END, max_length=8, width=width)
        cut = truncate_at(tf.strings.reduce_join(tf.strings.as_string(ids), axis=1), tf.constant(["2", "3"]))
        return {"ids": ids, "log_p": log_p, "beams": beams, "scores": scores, "cut": cut}

    module = tf.Module()
    module.decode = decode
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": decode})
    logits, _ = chain.start(5)
    expected = decode(logits, tf.range(5), tf.constant(3))

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path)).signature_def[
            "serving_default"
        ]
        got = session.run(
            {name: tensor.name for name, tensor in signature.outputs.items()},
            {
                signature.inputs["logits"].name: logits.numpy(),
                signature.inputs["seed"].name: np.arange(5),
                signature.inputs["width"].name: 3,
            },
        )
    for name in ("ids", "beams", "cut"):
        np.testing.assert_array_equal(got[name], expected[name])
    for name in ("log_p", "scores"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)


def test_small_differences_add_up() -> None:
    """Of long texts that differ by a few ten-millionths the better one wins: no rounding of sums decides."""
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
