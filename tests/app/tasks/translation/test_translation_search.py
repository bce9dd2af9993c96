"""Beam search of a trained translator."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from translators import Opened, pairs_of, searched, translated

from app.prediction.predictor import Predictor
from models.text.tokens import END_ID


def test_a_width_of_one_is_greedy(predictor: Predictor, opened: Opened, pairs: Path) -> None:
    """With one beam each step takes the most probable token, up to the end token."""
    texts = [source for source, _ in pairs_of(pairs, "test")[:6]]
    texts += ["one two three four five six.", "[nonsense]"]

    found = searched(predictor, texts, 1)["text"]

    expected = [opened.greedy(text) for text in texts]
    decoded = [opened.translator.decode(tf.constant([ids]), tf.constant([len(ids) - 1])) for ids in expected]
    assert all(ids[-1] == END_ID for ids in expected)
    assert found.tolist() == [text.numpy()[0] for text in decoded]
    assert len(set(found)) >= 5


def test_a_wider_search_finds_better_texts(predictor: Predictor, pairs: Path) -> None:
    """The mean score does not fall with the width, and rises where the model is uncertain."""
    certain = [source for source, _ in pairs_of(pairs, "validation")]
    uncertain = [f"{a} {b} {a}{a}" for a, b in itertools.pairwise(certain)]
    uncertain += ["six" * 4, ". . one . two", "...."]
    generator = random.Random(0)
    uncertain += ["".join(generator.choices("abeinostuwx Ωμ.", k=12)) for _ in range(40)]
    for texts in (certain, uncertain):
        means = [searched(predictor, texts, width)["score"].mean() for width in (1, 4, 8)]
        assert means[0] <= means[1] + 1e-6
        assert means[1] <= means[2] + 1e-6
    assert means[0] < means[2] - 1e-4


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.6, 0.0), (1.0, 0.4)])
def test_scores(predictor: Predictor, opened: Opened, pairs: Path, alpha: float, beta: float) -> None:
    """A score is the length-normalized log-probability of text and end token, plus the coverage penalty."""
    texts = [source for source, _ in pairs_of(pairs, "test")[:3]]
    texts += ["four four two one six six.", "[nonsense]"]
    found = searched(predictor, texts, 4, alpha, beta)
    for text, translation, score in zip(texts, found["text"], found["score"], strict=True):
        ids, lengths, scores = opened.translator.search(
            *opened.source_ids(text), width=4, length_penalty=alpha, coverage_penalty=beta
        )
        best = [*ids[0, 0, : lengths[0, 0]].numpy().tolist(), END_ID]
        _, coverage = opened.steps(text, lambda step, _, best=best: best[step], len(best))  # type: ignore[misc]
        log_p = opened.log_probabilities(text, best).sum()

        expected = log_p / ((5 + len(best)) / 6) ** alpha + beta * coverage

        assert opened.translator.decode(ids[:, 0], lengths[:, 0]).numpy()[0] == translation
        assert score == pytest.approx(expected, abs=1e-5)
        assert float(scores[0, 0]) == pytest.approx(expected, abs=1e-5)
        assert not beta or coverage < -0.01


def test_configured_options(predictor: Predictor, pairs: Path) -> None:
    """The main signature searches with the options of the run's configuration."""
    texts = [source for source, _ in pairs_of(pairs, "test")]

    configured, same = translated(predictor, texts), searched(predictor, texts, 3, 0.6)

    assert configured["text"].tolist() == same["text"].tolist()
    np.testing.assert_allclose(configured["score"], same["score"], atol=1e-5)
    assert not np.allclose(configured["score"], searched(predictor, texts, 3, 1.0)["score"], atol=1e-4)


def test_long_texts_are_truncated(predictor: Predictor) -> None:
    """Of a text with more than `text.max_length` tokens the beginning is translated."""
    texts = [b"one two " * 10, b"one two " * 10 + b"five six", b"one two " * 9]

    truncated, longer, other = translated(predictor, texts)["score"]

    assert longer == pytest.approx(truncated, abs=1e-6)
    assert abs(other - truncated) > 1e-4
