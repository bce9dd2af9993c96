from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from markov_chain import END, PADDING, VOCABULARY, Array, Chain, greedy, texts

from models.decoding.sampling import sample


def run(chain: Chain, rows: int, **options: Any) -> list[Array]:
    """Sample in a graph of unknown batch size: ids, lengths, log p."""

    @tf.function(input_signature=[tf.TensorSpec([None, len(chain.table)]), tf.TensorSpec([None], tf.int32)])
    def graph(logits: tf.Tensor, before: tf.Tensor) -> Any:
        state = {"before": before, "seen": (chain.looks(tf.zeros_like(before)),)}
        return sample(chain.step, state, logits, **options)

    logits, state = chain.start(rows)
    return [output.numpy() for output in graph(logits, state["before"])[:3]]


def test_temperature_of_zero_is_greedy() -> None:
    """Each row is the greedy text up to its end or its own length, padded with zeros."""
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
    """The log p of a sampled text is the model's, including the end token, with any options."""
    chain = Chain(1)
    ids, lengths, log_p = run(chain, 40, length=9, seed=tf.range(40), end_id=END, **options)

    assert 0 < np.sum(lengths < 9) < 40
    for row, text in enumerate(texts(ids, lengths)):
        whole = (*text, END) if len(text) < 9 else text
        expected = sum(chain.log_p(row, whole[:i])[token] for i, token in enumerate(whole))
        assert log_p[row] == pytest.approx(expected, rel=1e-4)


def test_without_end_all_rows_are_full() -> None:
    """Without an end token each row has its full length; with a length of 0 the batch is empty."""
    chain = Chain(2)

    assert run(chain, 3, length=[4, 9, 6])[1].tolist() == [4, 9, 6]
    ids, lengths, log_p = run(chain, 3, length=0)
    assert ids.shape == (3, 0)
    assert lengths.tolist() == log_p.tolist() == [0, 0, 0]


def test_rows_do_not_depend_on_each_other() -> None:
    """A seed yields the same text alone, in another order, and next to rows with other settings."""
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
    """Calls that continue an earlier one emit the same text as a single call."""
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


def test_rows_of_different_lengths_in_pieces() -> None:
    """A call that is continued leaves each row as one of this row alone does, whatever the others are."""
    chain, rows = Chain(12), 12
    lengths, seeds = np.array([0, 1, 3, 40] * 3), np.arange(rows)
    logits, state = chain.start(rows)
    none = tf.zeros([rows, 0], tf.int32)

    def piece(place: slice) -> tuple[Any, ...]:
        own, first, before = tf.nest.map_structure(lambda value: value[place], (state, logits, none))
        options: dict[str, Any] = {"length": lengths[place], "seed": seeds[place], "end_id": END}
        return sample(chain.step, own, first, emitted=before, **options)

    ids, counts, log_p, *after = piece(slice(None))
    ended = counts.numpy() < lengths
    assert ended.any()
    assert counts.numpy()[~ended & (lengths > 0)].min() < counts.numpy().max()
    for row in range(rows):
        alone = piece(slice(row, row + 1))
        np.testing.assert_array_equal(ids[row, : counts[row]], alone[0][0])
        np.testing.assert_allclose(log_p[row], alone[2][0], rtol=1e-6)
        for together, of_row in zip(tf.nest.flatten(after), tf.nest.flatten(alone[3:]), strict=True):
            np.testing.assert_array_equal(together[row], of_row[0])


def test_seeds() -> None:
    """Different seeds yield different texts; the tokens of a text are drawn independently."""
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
    """Kept tokens are drawn with the probabilities of the softmax of logits / temperature."""
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
    """A tiny temperature, one token, or a tiny mass keep the best token only."""
    chain = Chain(5)
    settings = [{"temperature": 1e-30}, {"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-9}]
    defaults = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    values = {
        name: np.repeat([options.get(name, default) for options in settings], 2)
        for name, default in defaults.items()
    }
    ids, lengths, _ = run(chain, 8, length=10, end_id=END, seed=np.arange(8), **values)

    assert texts(ids, lengths) == [greedy(chain, row, 10)[0] for row in range(8)]
