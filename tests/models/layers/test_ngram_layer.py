"""The linear model of n-grams: recomputed, invariant to padding, and divided among the tokens."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.ngrams import NGrams, ngram_keys

SIZE, CLASSES = 9, 3
TEXTS = [[2, 3, 2, 3, 4], [5], [1, 2, 3], [7, 8, 7, 8, 7, 8], [4, 1, 5], [6, 6, 6]]
LENGTHS = np.array([len(text) for text in TEXTS])
KNOWN = [(2, 3), (3, 2), (6, 6), (7, 8), (2, 3, 2), (7, 8, 7), (4, 5)]
IDS = np.concatenate(TEXTS)


def key(ngram: tuple[int, ...]) -> int:
    return int(ngram_keys(np.array(ngram), np.array([len(ngram)]), len(ngram), SIZE)[0])


def layer(longest: int = 3) -> tuple[NGrams, dict[Any, int]]:
    """Return a layer of random weights with room for more n-grams, and the place of each word and n-gram."""
    ngrams = sorted((own for own in KNOWN if len(own) <= longest), key=key)
    random = np.random.default_rng(0)
    features = SIZE + len(ngrams)
    made = NGrams(vocabulary_size=SIZE, classes=CLASSES, longest=longest, entries=len(ngrams) + 2)
    made.build()
    made.fill(
        np.array([key(own) for own in ngrams], np.int64),
        random.uniform(0.5, 2, features),
        random.normal(size=(features, CLASSES)),
        random.normal(size=CLASSES),
    )
    return made, {**{(i,): i for i in range(2, SIZE)}, **{own: SIZE + i for i, own in enumerate(ngrams)}}


def batch(padding: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    ids = np.full((len(TEXTS), LENGTHS.max() + padding), 3 if padding else 0)  # padding may be anything
    for row, text in enumerate(TEXTS):
        ids[row, : len(text)] = text
    return tf.constant(ids, tf.int32), tf.constant(LENGTHS, tf.int32)


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_logits_in_numpy(longest: int) -> None:
    """Each word and n-gram counts 1 + log n times its scale, in a text of norm 1."""
    made, places = layer(longest)
    scale, table, bias = (np.asarray(value) for value in (made.scale, made.table, made.bias))

    for text, logits in zip(TEXTS, made(*batch()).numpy(), strict=True):
        every = [tuple(text[i : i + n]) for n in range(1, longest + 1) for i in range(len(text) - n + 1)]
        counts = Counter(places[own] for own in every if own in places)
        values = {place: (1 + np.log(number)) * scale[place] for place, number in counts.items()}
        norm = np.sqrt(sum(value**2 for value in values.values()))
        expected = bias + sum(value / norm * table[place] for place, value in values.items())
        np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_padding_and_order_of_rows() -> None:
    """More padding, of any ids, changes nothing, and neither do the other rows."""
    made, _ = layer()
    ids, lengths = batch()
    expected = made(ids, lengths).numpy()

    np.testing.assert_array_equal(made(*batch(padding=3)), expected)
    np.testing.assert_allclose(made(ids[::-1], lengths[::-1])[::-1], expected, rtol=1e-6)
    assert len(np.unique(expected.round(4), axis=0)) == len(TEXTS)


def test_texts_without_known_words() -> None:
    """Without a known word the logits are the biases."""
    made, _ = layer()

    np.testing.assert_array_equal(
        made(tf.constant([[1, 1], [0, 0]]), tf.constant([2, 1])), np.tile(made.bias, (2, 1))
    )


def test_contributions_add_up() -> None:
    """What the tokens add sums to the weighted logits without the biases; unknown tokens add nothing."""
    made, _ = layer()
    ids, lengths = batch(padding=2)
    weights = np.random.default_rng(1).normal(size=(len(TEXTS), CLASSES)).astype(np.float32)
    found = made.contributions(ids, lengths, tf.constant(weights)).numpy()

    rise = made(ids, lengths).numpy() - np.asarray(made.bias)
    np.testing.assert_allclose(found.sum(axis=1), (rise * weights).sum(axis=1), atol=1e-5)
    padding = np.arange(found.shape[1]) >= LENGTHS[:, None]
    assert not found[padding | (ids.numpy() == 1)].any()
    assert found[0, :5].all()


def test_a_term_is_divided_among_the_tokens_of_its_ngram() -> None:
    """Of two words that have no weight of their own each gets half of their bigram's."""
    made = NGrams(vocabulary_size=SIZE, classes=1, longest=2, entries=1)
    made.build()
    table = np.zeros((SIZE + 1, 1))
    table[SIZE] = 4
    made.fill(np.array([key((2, 3))]), np.ones(SIZE + 1), table, np.zeros(1))
    found = made.contributions(tf.constant([[5, 2, 3]]), tf.constant([3]), tf.ones((1, 1)))

    np.testing.assert_allclose(found, [[0, 1, 1]])  # 4 / norm 2 / 2 tokens


def test_keys_are_those_of_the_texts() -> None:
    """An n-gram begins where it ends within its text and has no unknown word."""
    keys = ngram_keys(IDS, LENGTHS, 2, SIZE)

    begins = np.zeros(len(IDS), bool)
    begins[[0, 1, 2, 3, 7, 9, 10, 11, 12, 13, 18, 19]] = True
    np.testing.assert_array_equal(keys != -1, begins)
    assert keys[0] == keys[2] == keys[7] == key((2, 3)) != keys[1]
    assert key((2, 3, 4)) != key((2, 3))


def test_a_layer_without_weights_is_silent() -> None:
    """Before `fill` all logits are 0, with n-grams or without."""
    for entries in (0, 3):
        made = NGrams(vocabulary_size=SIZE, classes=2, longest=2, entries=entries)
        made.build()
        np.testing.assert_array_equal(made(*batch()), np.zeros((len(TEXTS), 2)))
