"""The network that learns tokens from characters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.text.boundaries import read_characters
from models.text.code_points import class_table
from models.tokenizer import CharacterTokenizer, ngram_ids

Logits = Callable[[list[str]], np.ndarray]
TEXTS = ["", "It isn't here. 我们喜欢读书。👍🏽 e\u0301!", "a-b " * 90, "\u200b"]


@pytest.fixture(scope="module")
def tokenizer() -> CharacterTokenizer:
    """Return a tokenizer with random weights, biases too."""
    made = CharacterTokenizer([ord(character) for character in "abeIthinsr .'们"])
    made.build()
    generator = np.random.default_rng(0)
    made.set_weights([generator.normal(scale=0.3, size=weight.shape) for weight in made.get_weights()])
    return made


@pytest.fixture(scope="module")
def logits(tokenizer: CharacterTokenizer) -> Logits:
    """Return the decisions of the tokenizer on texts, one text after the other."""
    return _graph(tokenizer)


def _graph(tokenizer: CharacterTokenizer) -> Logits:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def graph(texts: tf.Tensor) -> tf.Tensor:
        return tokenizer(read_characters(texts, class_table()).visible)

    return lambda texts: graph(tf.constant(texts, tf.string)).numpy()


def test_texts_are_independent(tokenizer: CharacterTokenizer, logits: Logits) -> None:
    """Neither the other texts of a batch nor their lengths change the decisions on a text."""
    alone = [logits([text]) for text in TEXTS]

    np.testing.assert_allclose(logits(TEXTS), np.concatenate(alone), rtol=1e-4, atol=1e-5)
    assert np.std(np.concatenate(alone)) > 0.01
    assert logits([]).size == tokenizer.locate(tf.constant(["", " "])).tokens.values.shape[0] == 0


def test_every_character_of_the_context_counts(logits: Logits) -> None:
    """A decision depends on the characters at both sides, in long texts, too."""
    text = "ab hi " * 60
    before, after = (logits([text[:180] + middle + text[181:]]) for middle in "ae")

    changed = np.flatnonzero(np.abs(before - after) > 1e-7)
    assert changed.min() < 180 < changed.max()


def test_portable_kernels(tokenizer: CharacterTokenizer, logits: Logits) -> None:
    """The kernels for every host compute what training does."""
    same = CharacterTokenizer.from_config(tokenizer.get_config())
    same.build()
    same.set_weights(tokenizer.get_weights())
    same.make_portable()

    np.testing.assert_allclose(_graph(same)(TEXTS), logits(TEXTS), rtol=1e-4, atol=1e-5)


def test_loss_of_scored_characters(tokenizer: CharacterTokenizer) -> None:
    """Characters that are not scored do not count, and without any the loss is 0."""
    points = tf.constant([ord(character) for character in "ab"])

    assert float(tokenizer.loss(points, tf.constant([2]), tf.constant([-1, -1], tf.int8))) == 0
    assert float(tokenizer.loss(points[:0], tf.constant([0]), tf.zeros([0], tf.int8))) == 0
    assert float(tokenizer.loss(points, tf.constant([2]), tf.constant([1, -1], tf.int8))) > 0


def test_pairs_of_an_alphabet_have_their_own_ids() -> None:
    """Few characters have no pair in common, and the ids of many are spread over the table."""
    few = _all_pairs(200)
    many = _all_pairs(3000)

    assert len(np.unique(few)) == few.size
    assert len(np.unique(many)) == many.max() + 1
    assert np.bincount(many).max() < 2 * many.size / (many.max() + 1)


def _all_pairs(characters: int) -> np.ndarray:
    first, second = np.divmod(np.arange(characters**2, dtype=np.int32), characters)
    return ngram_ids(tf.stack([first, second], axis=1), 2).numpy()[:, 0]


@pytest.mark.parametrize("length", [2, 3])
def test_ngrams_at_the_end_of_a_text(length: int) -> None:
    """Ids depend on the next characters only, and are in the table for every alphabet."""
    alone, short = ngram_ids(tf.constant([[7]]), length), ngram_ids(tf.constant([[5, 7]]), length)
    long = ngram_ids(tf.constant([[5, 7, 0, 0], [5, 7, 8, 1_114_111]]), length).numpy()

    np.testing.assert_array_equal(long[0, :2], short[0])
    assert short[0, 1] == alone[0, 0]
    assert (long[1, 0] == long[0, 0]) == (length == 2)
    assert 0 <= long.min() <= long.max() < 65_521
