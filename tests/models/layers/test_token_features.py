from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.layers.token_features import TokenFeatures
from models.text.word_features import word_features

OUTPUTS = 3
SENTENCES = ["The old dog saw the cat", "Dog", "the The", "cat saw"]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


def layer(buckets: int = 1 << 14, dropout: float = 0.0) -> TokenFeatures:
    """Return a layer with a random table."""
    made = TokenFeatures(buckets, OUTPUTS, dropout=dropout)
    made.build()
    made.set_weights([np.random.default_rng(0).normal(size=(buckets, OUTPUTS))])
    return made


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


def test_scores_are_zero_at_first() -> None:
    """A new layer changes no score."""
    made = TokenFeatures(8, OUTPUTS)
    made.build()

    assert not np.any(made(*inputs(SENTENCES)))


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


def test_scores_are_sums_of_rows() -> None:
    """Each token adds 21 rows of the table: 11 of its word, 4 of each neighbour, and 2 of pairs."""
    made = layer()
    made.set_weights([np.ones((made.buckets, OUTPUTS))])

    found = made(*inputs(SENTENCES)).numpy()

    np.testing.assert_array_equal(found[0], np.full((6, OUTPUTS), 21.0))


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
    made = layer()
    before, after = (made(*inputs([text])).numpy()[0] for text in (SENTENCES[0], sentence))
    changed = set(np.flatnonzero(np.abs(before - after).max(axis=1) > 1e-4).tolist())

    assert changed == changes


def test_sides_differ() -> None:
    """The word before and the word after a token have different features."""
    made = layer()
    found = [made(*inputs([text])).numpy()[0, 1] for text in ("The dog cat", "cat dog The")]

    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_dropout_leaves_out_features() -> None:
    """In training each feature is dropped with the rate, and the others are scaled; the mean stays."""
    made = layer(dropout=0.5)
    made.set_weights([np.ones((made.buckets, OUTPUTS))])
    arguments = inputs(SENTENCES[:1])
    found = np.concatenate([made(*arguments, training=True).numpy() for _ in range(300)])

    assert np.mean(found) == pytest.approx(21, rel=0.05)
    assert set(np.unique(found)) <= set(np.arange(0.0, 43.0, 2.0))
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    np.testing.assert_array_equal(made(*arguments), np.full((1, 6, OUTPUTS), 21.0))


def test_only_rows_of_features_learn() -> None:
    """The gradient touches the rows of the features that occur, and padding none."""
    made = layer()
    rows = []
    for steps in (0, 4):
        features, types, lengths = inputs(SENTENCES[1:2], fill=1, steps=steps)
        with tf.GradientTape() as tape:
            found = tf.reduce_sum(made(features, types, lengths)[:, :1])
        gradient = tf.convert_to_tensor(tape.gradient(found, made.table.value))
        rows.append(np.flatnonzero(np.any(gradient, axis=1)))

    np.testing.assert_array_equal(*rows)
    assert 0 < len(rows[0]) <= 21
