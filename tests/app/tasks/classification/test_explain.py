"""The signature `explain` of a classifier: the importance of each token."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.artifacts.run import open_run
from app.config import TaskConfig
from app.prediction.loading import load_keras_model, load_predictor
from app.prediction.predictor import Predictor
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.task import TASK
from models.classifier import log_odds
from models.text.normalize import normalize
from models.text.tokens import SPECIAL_TOKENS, UNKNOWN_ID

Configured = Callable[..., TaskConfig]
Process = Callable[..., subprocess.CompletedProcess[str]]

TEXTS = [
    b"The plot is <b>dull</b>, but it's very GOOD.",
    b"",
    b" \n",
    "Η υπόθεση είναι ΌΜΩΣ İ 👍🏽 不好".encode(),
    b"good \xff caf\xe9 \x00bad",
]

ALONE = r"""
import base64, json, sys
import tensorflow as tf

job = json.load(sys.stdin)
texts = [base64.b64decode(text) for text in job["texts"]]

def listed(outputs):
    return {name: [[base64.b64encode(t).decode() for t in row] if name == "tokens" else row.decode()
                   for row in value] if value.dtype == object else value.tolist()
            for name, value in outputs.items()}

loaded = tf.saved_model.load(job["export"])
function = loaded.signatures["explain"]
results = {"tf2": listed({name: value.numpy() for name, value in function(text=tf.constant(texts)).items()})}
described = function.structured_outputs.items()
results["outputs"] = {name: [v.dtype.name, v.shape.as_list()] for name, v in described}
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], job["export"]).signature_def["explain"]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    results["tf1"] = listed(session.run(outputs, {signature.inputs["text"].name: texts}))
results["own"] = sorted({"app", "data", "models"} & {name.partition(".")[0] for name in sys.modules})
json.dump(results, sys.stdout)
"""


def explained(predictor: Predictor, texts: list[bytes]) -> dict[str, np.ndarray]:
    """Return the outputs of the signature."""
    return {
        key: value.numpy() for key, value in predictor.signatures["explain"](text=tf.constant(texts)).items()
    }


def predicted(predictor: Predictor, texts: list[bytes]) -> dict[str, np.ndarray]:
    """Return the outputs of the main signature."""
    return predictor.run_texts("serving_default", texts)


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    """Return the predictor of the run."""
    return load_predictor(run)


def test_an_export_alone(process: Process, exported: Path, predictor: Predictor, tmp_path: Path) -> None:
    """An export explains as its run does, in TF1 and TF2, without importing this project."""
    texts = [base64.b64encode(text).decode() for text in TEXTS]
    job = {"texts": texts, "export": str(exported)}
    result = process("-I", "-c", ALONE, cwd=tmp_path, stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    found_alone = json.loads(result.stdout)
    expected = explained(predictor, TEXTS)

    assert found_alone["own"] == []
    assert found_alone["outputs"] == {
        "tokens": ["string", [None, None]],
        "start": ["int32", [None, None]],
        "end": ["int32", [None, None]],
        "importance": ["float32", [None, None]],
        "length": ["int32", [None]],
        "label": ["string", [None]],
    }
    for version in ("tf1", "tf2"):
        found: dict[str, Any] = found_alone[version]
        for name in ("start", "end", "length"):
            assert found[name] == expected[name].tolist()
        tokens = [[base64.b64decode(token) for token in row] for row in found["tokens"]]
        assert tokens == expected["tokens"].tolist()
        assert [label.encode() for label in found["label"]] == expected["label"].tolist()
        np.testing.assert_allclose(found["importance"], expected["importance"], atol=1e-5)


def test_words(predictor: Predictor) -> None:
    """The outputs are each token, its position and its importance; the label is that of `serving_default`."""
    found = explained(predictor, TEXTS)
    text = TEXTS[0].decode()
    length = found["length"][0]

    assert found["label"].tolist() == predicted(predictor, TEXTS)["label"].tolist()
    assert [text[start:end] for start, end in zip(found["start"][0], found["end"][0], strict=True)][
        :length
    ] == (["The", "plot", "is", "dull", ",", "but", "it", "'s", "very", "GOOD", "."])
    assert found["tokens"][0, :4].tolist() == [b"the", b"plot", b"is", b"dull"]
    assert np.count_nonzero(found["importance"][0]) >= 8


def test_importances_add_up(predictor: Predictor, run: Path) -> None:
    """The importances of a text sum to its log-odds minus those of as many out-of-vocabulary tokens."""
    texts = [b"a dull film", b"The plot is good, but the cast is not."]
    found = explained(predictor, texts)
    model = load_keras_model(open_run(run))
    labels = [name.decode() for name in predicted(predictor, texts[:1])["classes"][0]]
    for row, text in enumerate(texts):
        classes = tf.constant([labels.index(found["label"][row].decode())])
        length = int(found["length"][row])
        probabilities = predicted(predictor, [text])["probabilities"]
        odds = log_odds(tf.math.log(probabilities), classes)
        none = model(tf.fill([1, length], UNKNOWN_ID), tf.constant([length]))
        expected = float(odds[0] - log_odds(none, classes)[0])
        assert found["importance"][row].sum() == pytest.approx(expected, abs=0.01)
        assert abs(expected) > 0.03


def test_empty_texts(predictor: Predictor) -> None:
    """A text without tokens has a label and no importances, alone and in a batch."""
    for texts in ([b""], [b" \n", b""]):
        found = explained(predictor, texts)
        assert found["length"].tolist() == [0] * len(texts)
        for name in ("importance", "start", "end"):
            assert not found[name].any()
        assert not any(found["tokens"].ravel())
        assert found["label"].tolist() == predicted(predictor, texts)["label"].tolist()


def test_padding(predictor: Predictor) -> None:
    """Other texts of the batch change nothing; padding is empty."""
    together = explained(predictor, TEXTS)
    for row, text in enumerate(TEXTS):
        alone = explained(predictor, [text])
        length = together["length"][row]
        assert alone["length"][0] == length
        for name in ("tokens", "start", "end"):
            assert together[name][row, :length].tolist() == alone[name][0, :length].tolist()
            assert not any(together[name][row, length:])
        np.testing.assert_allclose(
            together["importance"][row, :length], alone["importance"][0, :length], atol=1e-5
        )
        assert not together["importance"][row, length:].any()


KINDS: dict[str, tuple[str, ...]] = {
    "word": ("text.max_length=5", "text.truncate=middle"),
    "char": ("text.tokens=char",),
    "byte": ("text.tokens=byte", "text.lowercase=false"),
    "subword": ("text.tokens=subword",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_tokens(configured: Configured, kind: str) -> None:
    """Each token has its position and its importance, for every kind of token."""
    pieces = ["▁the", "▁", *"thepoisdulgcf,.👍"]
    words = [piece.encode() for piece in dict.fromkeys([*pieces, "plot", "good"])]
    preprocessing = Preprocessing(
        {"vocabulary": [*SPECIAL_TOKENS, *words], "labels": [b"no", b"yes"]},
        ClassificationFacts(subwords={"vocabulary": [(piece, -1.0) for piece in dict.fromkeys(pieces)]}),
    )
    config = configured(*KINDS[kind])
    model = TASK.training.build_model(config, preprocessing, np.ones(len(words) + 2, np.int64))
    noise = np.random.default_rng(0)
    model.set_weights([noise.normal(size=weight.shape) for weight in model.get_weights()])
    signature = TASK.predictions.signatures(tf.Module(), model, preprocessing, config)["explain"]
    tf.config.run_functions_eagerly(True)
    try:
        found = {key: value.numpy() for key, value in signature.function(tf.constant(TEXTS)).items()}
    finally:
        tf.config.run_functions_eagerly(False)

    for row, text in enumerate(TEXTS):
        normalized = normalize(tf.constant(text), lowercase=False).numpy().decode()
        length = found["length"][row]
        spans = list(zip(found["start"][row, :length], found["end"][row, :length], strict=True))
        assert all(0 <= start <= end <= len(normalized) for start, end in spans)
        if kind in ("char", "byte"):
            assert {int(start) for start, _ in spans} == set(range(len(normalized)))
        elif kind == "subword":
            assert {index for start, end in spans for index in range(start, end)} >= {
                index for index, character in enumerate(normalized) if not character.isspace()
            }
        else:
            assert length <= 5
    assert [TEXTS[0].decode()[s:e] for s, e in zip(found["start"][0], found["end"][0], strict=True)][:2] == (
        {"word": ["The", "plot"], "subword": ["The", " "]}.get(kind, ["T", "h"])
    )
    assert np.abs(found["importance"][0]).max() > 1e-3
