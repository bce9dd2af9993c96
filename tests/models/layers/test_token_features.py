from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.layers.token_features import NEVER, TokenFeatures, feature_keys
from models.text.word_features import word_features

TAGS = 3
SENTENCES = ["The old dog saw the cat", "Dog", "the The", "cat saw"]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


def inputs(
    sentences: list[str], words: list[str] = WORDS, fill: int = 0, steps: int = 0
) -> tuple[tf.Tensor, ...]:
    """Return the arguments of the layer."""
    rows = [[words.index(word) for word in sentence.split()] for sentence in sentences]
    lengths = np.array([len(row) for row in rows], np.int32)
    types = np.full((len(rows), max(lengths) + steps), fill, np.int32)
    for row, own in zip(types, rows, strict=True):
        row[: len(own)] = own
    return word_features(tf.constant(words)), tf.constant(types), tf.constant(lengths)


def keys(sentence: str) -> np.ndarray:
    """Return the keys of the features of each token of a sentence: int64 [T, 21]."""
    words = sentence.split()
    places = np.arange(len(words), dtype=np.int32)
    before, after = np.roll(places, 1), np.roll(places, -1)
    before[0] = after[-1] = len(words)
    own, previous, following, pairs = feature_keys(word_features(tf.constant(words)), places, before, after)
    parts = tf.gather(own, places), tf.gather(previous, before), tf.gather(following, after), pairs
    return tf.concat(parts, axis=1).numpy()


def layer(sentences: list[str] = SENTENCES, spare: int = 5) -> TokenFeatures:
    """Return a layer with random weights of all features of sentences."""
    known = np.unique(np.concatenate([keys(sentence) for sentence in sentences]))
    made = TokenFeatures(tags=TAGS, entries=len(known) + spare)
    made.build()
    generator = np.random.default_rng(0)
    made.fill(known, generator.normal(size=(len(known), TAGS)), generator.normal(size=TAGS))
    return made


def test_scores_are_zero_at_first() -> None:
    """A layer that was not filled has scores of 0."""
    made = TokenFeatures(tags=TAGS, entries=8)
    made.build()

    assert not np.any(made(*inputs(SENTENCES)))


def test_scores_are_sums_of_the_weights_of_features() -> None:
    """Each token adds the weights of its 21 features (11 of its word, 4 of each neighbour, 2 of pairs)."""
    made = layer()
    table = dict(zip(made.keys.numpy().tolist(), made.table.numpy(), strict=False))
    found = made(*inputs(SENTENCES)).numpy()

    for sentence, scores in zip(SENTENCES, found, strict=True):
        of_tokens = keys(sentence)
        assert of_tokens.shape[1] == 21
        expected = [made.bias.numpy() + sum(table[key] for key in own.tolist()) for own in of_tokens]
        np.testing.assert_allclose(scores[: len(expected)], expected, rtol=1e-5, atol=1e-5)


def test_unknown_features_count_for_nothing() -> None:
    """A token none of whose features is known has the biases as its scores."""
    made = layer(["Dog"])
    found = made(word_features(tf.constant(["42"])), tf.constant([[0, 0, 0]]), tf.constant([3]))

    np.testing.assert_array_equal(found[0, 1], made.bias)
    assert np.any(found[0, 0] != made.bias)  # there is no word before it, as before "Dog"
    assert np.count_nonzero(made.keys.numpy() == NEVER) == 5


def test_padding_and_order_change_nothing() -> None:
    """A token's scores depend on its own sentence alone, whatever is padded, however words are numbered."""
    made = layer()
    expected = made(*inputs(SENTENCES)).numpy()
    for other in (
        inputs(SENTENCES, fill=2, steps=3),
        inputs(SENTENCES, words=[*WORDS[::-1], "unused"]),
    ):
        found = made(*other).numpy()
        for i, sentence in enumerate(SENTENCES):
            length = len(sentence.split())
            np.testing.assert_allclose(found[i, :length], expected[i, :length], rtol=1e-5, atol=1e-5)
    alone = made(*inputs(SENTENCES[3:])).numpy()
    np.testing.assert_allclose(alone[0, :2], expected[3, :2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("sentence", "changes"),
    [
        ("The old cat saw the cat", {1, 2, 3}),
        ("the old dog saw the cat", {0, 1}),
        ("The old dog saw the saw", {4, 5}),
    ],
    ids=["inner", "case", "last"],
)
def test_a_word_changes_its_neighbours(sentence: str, changes: set[int]) -> None:
    """Another word, or its case, changes the scores of its own token and of the two next to it, no others."""
    made = layer([*SENTENCES, sentence])
    before, after = (made(*inputs([text])).numpy()[0] for text in (SENTENCES[0], sentence))
    changed = set(np.flatnonzero(np.abs(before - after).max(axis=1) > 1e-4).tolist())

    assert changed == changes


def test_sides_differ() -> None:
    """The word before and the word after a token have different features."""
    sentences = ["The dog cat", "cat dog The"]
    made = layer(sentences)
    found = [made(*inputs([text])).numpy()[0, 1] for text in sentences]

    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_features_have_keys_of_their_own() -> None:
    """Features of a word, of its neighbours and of pairs have different keys; so have different words."""
    of_tokens = keys("The old dog")

    assert len(np.unique(of_tokens[0])) == len(of_tokens[0])
    assert len(set(of_tokens[0, :11].tolist()) & set(of_tokens[1:, :11].ravel().tolist())) <= 2
