"""The signature `attention`: which source tokens the decoder attends to."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf
from translators import SHORT, Networks, Opened, translated

from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from models.text.tokenize import tokenize
from models.text.tokens import END_ID

Attend = Callable[..., dict[str, np.ndarray]]


def attended(predictor: Predictor, texts: Sequence[str | bytes]) -> dict[str, np.ndarray]:
    """Return the outputs of the signature."""
    outputs = predictor.signatures["attention"](text=tf.constant(texts))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("name", ["multiplicative", "additive", "learned"])
def test_the_signature(networks: Networks, name: str) -> None:
    """Run and export give the same attention weights of the best translation; those of a token sum to 1."""
    predictor = load_predictor(networks.runs[name])
    expected = attended(predictor, SHORT)
    options = Opened(networks.runs[name]).translator.source.options

    assert expected["text"].tolist() == translated(predictor, SHORT)["text"].tolist()
    for i, text in enumerate(SHORT):
        source, target = expected["source_length"][i], expected["target_length"][i]
        tokens = tokenize(tf.constant([text]), **options)[0].numpy().tolist()
        assert expected["source"][i, :source].tolist() == tokens
        assert (target > 0) == (source > 0)
        if target:
            assert expected["target"][i, target - 1] == b"[END]"
        assert b"[END]" not in expected["target"][i, : max(target - 1, 0)]
        np.testing.assert_allclose(expected["attention"][i, :target, :source].sum(axis=1), 1, atol=1e-5)
        assert not expected["attention"][i, target:].any()
        assert not expected["attention"][i, :, source:].any()
        assert not any(expected["source"][i, source:])
        assert not any(expected["target"][i, target:])
    assert {0, 1} < set(expected["source_length"].tolist())
    for version in ("tf1", "tf2"):
        found = networks.alone[name][f"attended {version}"]
        for key in ("source", "target"):
            assert [[base64.b64decode(t) for t in row] for row in found[key]] == expected[key].tolist()
        for key in ("source_length", "target_length"):
            assert found[key] == expected[key].tolist()
        np.testing.assert_allclose(found["attention"], expected["attention"], atol=1e-5)


def test_attention_is_that_of_the_best_translation(opened: Opened, predictor: Predictor) -> None:
    """The weights are those of the decoder steps that produce the translation, the end token last."""
    text = "one five two."
    found = {name: value[0] for name, value in attended(predictor, [text, "three."]).items()}
    source, lengths = opened.source_ids(text)
    target = opened.translator.target.ids(tf.ragged.constant([found["target"]]))[0].numpy().tolist()
    assert b"".join(found["target"].tolist()).decode() == "▁zwei▁fünf▁eins.[END]"

    state = opened.model.encode(source, lengths)
    for token, weights in zip([END_ID, *target[:-1]], found["attention"], strict=True):
        _, state = opened.model.step(tf.constant([token]), state)
        np.testing.assert_allclose(weights, state["attention"][0], atol=1e-5)


def test_each_row_attends_to_its_own_text(predictor: Predictor) -> None:
    """Other texts of the batch change no attention weight."""
    texts = ["one five two.", "", "three six one two four."]
    together = attended(predictor, texts)
    for i, text in enumerate(texts):
        alone = {name: value[0] for name, value in attended(predictor, [text]).items()}
        source, target = alone["source_length"], alone["target_length"]
        assert together["target"][i, :target].tolist() == alone["target"][:target].tolist()
        np.testing.assert_allclose(
            together["attention"][i, :target, :source], alone["attention"][:target, :source], atol=1e-5
        )
