from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from app.tasks.tagging.span_ends import inside_tags, learned_tags
from data.tags import convert
from models.layers.bioes import NOTHING, SpanEnds

TAGS = ["B-X", "O", "I-X", "B-Y", "I-Z", "B-Z"]
INSIDE = [2, NOTHING, 2, NOTHING, 4, 4]


def test_names() -> None:
    """A tag that another one continues is learned as two; a span that nothing continues is a single token."""
    assert inside_tags(TAGS) == INSIDE
    assert learned_tags(TAGS, INSIDE) == [
        *("B-X", "O", "I-X", "S-Y", "I-Z", "B-Z"),
        *("S-X", "E-X", "E-Z", "S-Z"),
    ]


@pytest.mark.parametrize("padding", [0, 3])
def test_tags_are_those_of_bioes(padding: int) -> None:
    """The learned tags have the names of the same spans in BIOES, and are converted back."""
    rows = [
        ["B-X", "I-X", "B-X", "O", "B-Z", "I-Z", "I-Z"],
        ["B-Y", "B-Y"],
        ["B-X"],
        ["O", "B-Z", "I-Z"],
        ["B-X", "B-Z", "B-X", "I-X"],
    ]
    names = learned_tags(TAGS, INSIDE)
    ends = SpanEnds(INSIDE)
    lengths = np.array([len(row) for row in rows], np.int32)
    # Padding looks as if it continued a span.
    tags = np.full((len(rows), max(lengths) + padding), TAGS.index("I-X"), np.int32)
    for row, own in zip(tags, rows, strict=True):
        row[: len(own)] = [TAGS.index(tag) for tag in own]

    learned = ends.learned(tf.constant(tags), tf.constant(lengths)).numpy()
    back = ends.of_data(tf.constant(learned)).numpy()

    assert ends.size == len(names)
    for i, own in enumerate(rows):
        assert [names[tag] for tag in learned[i, : len(own)]] == convert(own, "BIOES")
        assert [TAGS[tag] for tag in back[i, : len(own)]] == own


def test_probabilities_are_added() -> None:
    """The probability of a tag of the data is that of its two learned ones together."""
    probabilities = tf.constant([[0.5, 0.125, 0.25, 0.0625, 0.0625]])

    found = SpanEnds([1, 1, NOTHING]).joined(probabilities)

    np.testing.assert_allclose(found, [[0.5625, 0.1875, 0.25]])
