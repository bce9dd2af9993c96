"""Runs and exports of every kind of translation network compute the same translations."""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from translators import HARD, NETWORKS, Networks, Opened, tiny, translated

from app.artifacts.preprocessing import Facts, Preprocessing
from app.prediction.loading import load_predictor
from app.tasks.translation.translator import Translator


def assert_alike(found: Mapping[str, Any], expected: Mapping[str, np.ndarray]) -> None:
    """Compare the outputs of another process."""
    assert [base64.b64decode(text) for text in found["text"]] == expected["text"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)


def test_nothing_of_the_project_is_needed(networks: Networks) -> None:
    """Exports load and run where this project cannot be imported; all signatures are present."""
    assert "tensorflow" in networks.imported
    assert not {"app", "data", "models", "sentencepiece", "tensorflow_text"} & networks.imported
    text = ["string", [None]]
    for name, outputs in networks.alone.items():
        attends = "model.attention=none" not in NETWORKS.get(name, ())
        assert outputs["inputs"] == {
            "counts": {"text": text},
            "serving_default": {"text": text},
            **({"attention": {"text": text}} if attends else {}),
            "score": {"text": text, "target": text},
            "search": {
                "text": text,
                "width": ["int32", []],
                "length_penalty": ["float32", []],
                "coverage_penalty": ["float32", []],
            },
        }
        assert outputs["outputs"] == {"text": text, "score": ["float32", [None]]}


@pytest.mark.parametrize("name", [*NETWORKS, "learned"])
def test_hard_texts(networks: Networks, name: str) -> None:
    """A run and its export translate alike: alone, in a batch, in any order, in TF1 and TF2."""
    texts = list(HARD.values())
    predictor = load_predictor(networks.runs[name])
    expected = translated(predictor, texts)
    assert len(HARD["long"].split()) >= 10_000

    found = networks.alone[name]
    for version in ("tf1", "tf2"):
        assert_alike(found[version], expected)
    if name != "learned":  # whose configured options differ from those of the search
        assert_alike(found["search"], expected)
    order = random.Random(1).sample(range(len(texts)), len(texts))
    for batch_size in (1, len(texts)):
        shuffled = translated(replace(predictor, batch_size=batch_size), [texts[i] for i in order])
        assert shuffled["text"].tolist() == [expected["text"][i] for i in order]
        np.testing.assert_allclose(shuffled["score"], expected["score"][order], atol=1e-5)
    for text, score, source in zip(expected["text"], expected["score"], HARD, strict=True):
        text.decode()
        assert math.isfinite(score)
        if source == "empty":
            assert (text, score) == (b"", 0)
        else:
            assert score <= 0
    assert len({round(float(score), 6) for score in expected["score"]}) >= 5


def test_parameters(networks: Networks) -> None:
    """Attention, input feeding, tied and shared embeddings are those of the configuration."""
    names = {name: {w.path for w in Opened(run).model.weights} for name, run in networks.runs.items()}

    def having(part: str) -> set[str]:
        return {name for name, paths in names.items() if any(part in path for path in paths)}

    assert having("of_memory") == {"multiplicative", "additive", "learned"}
    assert having("of_query") == {"additive"}
    assert having("head") == {"characters"}
    assert set(names) - having("source_embedding") == {"additive", "characters"}
    assert having("decoder_1") == {"additive"}


def test_bytes_that_are_not_utf_8() -> None:
    """A byte model may predict any sequence of bytes; the translation is valid UTF-8 all the same."""
    vocabulary = [b"", b"[UNK]", b"[END]", b"a", *(bytes([i]) for i in "ü".encode())]
    config = tiny("text.tokens=byte", "text.shared=true")
    translator = Translator(keras.Model(), Preprocessing({"vocabulary": vocabulary}, Facts()), config)
    texts = translator.decode(tf.constant([[3, 4, 5], [3, 4, 3]]), tf.constant([3, 2]))

    assert [text.decode() for text in texts.numpy()] == ["aü", "a\ufffd"]
