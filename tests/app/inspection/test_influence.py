"""The influence of tokens: integrated gradients that are complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from networks import classifier, linear

from app.inspection import influence as module
from app.inspection.influence import influence, mean_gradients
from app.inspection.opened import open_to_inspect
from app.tasks.inspection import TOKENS, Line
from data.errors import UserError
from data.samples import reviews as sample_reviews


def kinks(points: list[tf.Tensor], outputs: np.ndarray) -> tf.Tensor:
    """Return a score with many kinks, the second output with the opposite sign."""
    bends = tf.nn.relu(points[0] - tf.constant(np.linspace(0.05, 0.9, 7), tf.float32))
    return tf.reduce_sum(bends, axis=1) * tf.gather([1.0, -1.0], outputs)


def line() -> Line:
    """Return a line of seven values from 0 to 1, with two outputs."""
    return Line([tf.zeros([1, 7])], [tf.ones([1, 7])], 2, kinks, lambda gradients: {TOKENS: gradients[0]})


def test_kinks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of a sum of rectifiers gets its own share, which needs pieces around each kink."""
    found, difference = mean_gradients(line(), tolerance=1e-4)

    expected = 1 - np.linspace(0.05, 0.9, 7)
    np.testing.assert_allclose(difference, [expected.sum(), -expected.sum()], rtol=1e-6)
    np.testing.assert_allclose(found[0], [expected, -expected], atol=1e-4)

    monkeypatch.setattr(module, "ROUNDS", 0)
    found, _ = mean_gradients(line(), tolerance=1e-4)
    assert np.abs(found[0].sum(axis=1) - difference).max() > 1e-2


def test_a_linear_network() -> None:
    """Of a linear score, the influence of a token is its part of the sum: a later token counts more."""
    inspection = linear(0.5)
    model = inspection.model
    text = inspection.text("a a a", None)  # type: ignore[arg-type]  # a classifier needs no predictor

    found = influence(inspection, text)

    kernel, head = model.recurrent.forward[0].cell.kernel, np.asarray(model.head.kernel)
    word, unknown = np.asarray(model.embedding.embeddings)[[2, 1]]
    (chosen,) = found.classes
    part = float((word - unknown) @ np.asarray(kernel) @ (head[:, chosen] - head[:, 1 - chosen]))
    np.testing.assert_allclose(found.tokens[TOKENS][0], [part / 4, part / 2, part], rtol=1e-4)


def test_unknown_tokens_have_no_influence() -> None:
    """A token out of vocabulary is its own baseline."""
    inspection = classifier("model.cell=gru")
    text = inspection.text("a zebra b", None)  # type: ignore[arg-type]
    found = influence(inspection, text).tokens[TOKENS][0]

    assert found[1] == 0
    assert np.abs(found[[0, 2]]).min() > 1e-6


@pytest.mark.parametrize("pooling", ["last", "max_mean", "attention"])
def test_influences_are_complete(pooling: str) -> None:
    """The influences of all tokens sum to the difference of the scores, whatever the pooling is."""
    inspection = classifier(f"model.pooling={pooling}", "model.cell=lstm", "model.bidirectional=true")
    random = np.random.default_rng(1)
    for weight in inspection.model.trainable_variables:  # far from linear
        weight.assign(random.normal(size=weight.shape, scale=0.7))
    for length in (1, 4, 12):
        text = inspection.text(" ".join(random.choice(list("abcdef"), length)), None)  # type: ignore[arg-type]
        found = influence(inspection, text)

        assert abs(found.difference[0]) > 0.1
        assert found.error[0] < 1e-3


def test_influences_of_a_run_are_complete(run: Path) -> None:
    """So they are for validation rows of a trained network."""
    opened = open_to_inspect(run)
    for row in sample_reviews(0)["validation"][:10]:
        text = opened.inspection.text(row["text"], opened.predictor)
        found = influence(opened.inspection, text)

        assert found.error.max() < 1e-3
        assert len(found.tokens[TOKENS][0]) == len(text.tokens[TOKENS])


def test_no_tokens() -> None:
    """A text without tokens is refused."""
    with pytest.raises(UserError, match="the text has no tokens"):
        classifier().text(" ", None)  # type: ignore[arg-type]
