"""What mattered to a classifier: the signature `explain`."""

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

from app.artifacts.preprocessing import Facts, Preprocessing
from app.artifacts.run import open_run
from app.config import TaskConfig
from app.prediction.loading import load_keras_model, load_predictor
from app.prediction.predictor import Predictor
from app.tasks.classification.task import TASK
from models.classifier import Classifier, log_odds
from models.settings import ClassifierSettings
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

def listed(answers):
    return {name: [[base64.b64encode(t).decode() for t in row] if name == "tokens" else row.decode()
                   for row in value] if value.dtype == object else value.tolist()
            for name, value in answers.items()}

loaded = tf.saved_model.load(job["export"])
function = loaded.signatures["explain"]
results = {"tf2": listed({name: value.numpy() for name, value in function(text=tf.constant(texts)).items()})}
outputs = function.structured_outputs.items()
results["outputs"] = {name: [v.dtype.name, v.shape.as_list()] for name, v in outputs}
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], job["export"]).signature_def["explain"]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    results["tf1"] = listed(session.run(outputs, {signature.inputs["text"].name: texts}))
results["own"] = sorted({"app", "data", "models"} & {name.partition(".")[0] for name in sys.modules})
json.dump(results, sys.stdout)
"""


def explained(predictor: Predictor, texts: list[bytes]) -> dict[str, np.ndarray]:
    """Return what the signature says of texts."""
    return {
        key: value.numpy() for key, value in predictor.signatures["explain"](text=tf.constant(texts)).items()
    }


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return load_predictor(run)


def test_an_export_alone(process: Process, exported: Path, predictor: Predictor, tmp_path: Path) -> None:
    """An export explains as its run does, in TF1 and TF2, where this project is not installed."""
    texts = [base64.b64encode(text).decode() for text in TEXTS]
    job = {"texts": texts, "export": str(exported)}
    result = process("-I", "-c", ALONE, cwd=tmp_path, stdin=json.dumps(job))
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout)
    expected = explained(predictor, TEXTS)

    assert answers["own"] == []
    assert answers["outputs"] == {
        "tokens": ["string", [None, None]],
        "start": ["int32", [None, None]],
        "end": ["int32", [None, None]],
        "importance": ["float32", [None, None]],
        "length": ["int32", [None]],
        "label": ["string", [None]],
    }
    for version in ("tf1", "tf2"):
        found: dict[str, Any] = answers[version]
        for name in ("start", "end", "length"):
            assert found[name] == expected[name].tolist()
        tokens = [[base64.b64decode(token) for token in row] for row in found["tokens"]]
        assert tokens == expected["tokens"].tolist()
        assert [label.encode() for label in found["label"]] == expected["label"].tolist()
        np.testing.assert_allclose(found["importance"], expected["importance"], atol=1e-5)


def test_words(predictor: Predictor) -> None:
    """Each word that is read, where it stands, its importance; the label is that of the main signature."""
    found = explained(predictor, TEXTS)
    text = TEXTS[0].decode()
    length = found["length"][0]

    assert found["label"].tolist() == predictor.run_texts("serving_default", TEXTS)["label"].tolist()
    assert [text[start:end] for start, end in zip(found["start"][0], found["end"][0], strict=True)][
        :length
    ] == (["The", "plot", "is", "dull", ",", "but", "it", "'s", "very", "GOOD", "."])
    assert found["tokens"][0, :4].tolist() == [b"the", b"plot", b"is", b"dull"]
    assert np.count_nonzero(found["importance"][0]) >= 8


def test_importances_add_up(predictor: Predictor, run: Path) -> None:
    """The importances of a text's words add up to its log-odds, above those of as many unknown words."""
    texts = [b"a dull film", b"The plot is good, but the cast is not."]
    found = explained(predictor, texts)
    model = load_keras_model(open_run(run))
    labels = [name.decode() for name in predictor.run_texts("serving_default", texts[:1])["classes"][0]]
    for row, text in enumerate(texts):
        classes = tf.constant([labels.index(found["label"][row].decode())])
        length = int(found["length"][row])
        probabilities = predictor.run_texts("serving_default", [text])["probabilities"]
        odds = log_odds(tf.math.log(probabilities), classes)
        none = model(tf.fill([1, length], UNKNOWN_ID), tf.constant([length]))
        expected = float(odds[0] - log_odds(none, classes)[0])
        assert found["importance"][row].sum() == pytest.approx(expected, abs=0.02)
        assert abs(expected) > 0.05


def test_empty_texts(predictor: Predictor) -> None:
    """A text without tokens has no importances, alone too, and a label like any other."""
    for texts in ([b""], [b" \n", b""]):
        found = explained(predictor, texts)
        assert found["length"].tolist() == [0] * len(texts)
        for name in ("importance", "start", "end"):
            assert not found[name].any()
        assert not any(found["tokens"].ravel())
        assert found["label"].tolist() == predictor.run_texts("serving_default", texts)["label"].tolist()


def test_rows(predictor: Predictor) -> None:
    """Neighbours change nothing of a row, whose padding is empty."""
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
    """Of each kind of token each one that is read has its place and its importance."""
    pieces = ["▁the", "▁", *"thepoisdulgcf,.👍"]
    vocabularies = {
        "vocabulary": [
            *SPECIAL_TOKENS,
            *(piece.encode() for piece in dict.fromkeys([*pieces, "plot", "good"])),
        ],
        "labels": [b"no", b"yes"],
    }
    preprocessing = Preprocessing(
        vocabularies, Facts(subwords={"vocabulary": [(piece, -1.0) for piece in dict.fromkeys(pieces)]})
    )
    config = configured(*KINDS[kind])
    settings = ClassifierSettings(embedding_size=3, cell="gru", units=3, bidirectional=False, pooling="last")
    model = Classifier(settings, vocabulary_size=len(vocabularies["vocabulary"]), classes=2)
    model.build()
    noise = np.random.default_rng(0)
    model.set_weights([noise.normal(size=weight.shape) for weight in model.get_weights()])
    module = tf.Module()
    explain = TASK.predictions.signatures(module, model, preprocessing, config)["explain"].function
    tf.config.run_functions_eagerly(True)
    try:
        found = {key: value.numpy() for key, value in explain(tf.constant(TEXTS)).items()}
    finally:
        tf.config.run_functions_eagerly(False)

    for row, text in enumerate(TEXTS):
        read = normalize(tf.constant(text), lowercase=False).numpy().decode()
        length = found["length"][row]
        places = list(zip(found["start"][row, :length], found["end"][row, :length], strict=True))
        assert all(0 <= start <= end <= len(read) for start, end in places)
        if kind in ("char", "byte"):
            assert {int(start) for start, _ in places} == set(range(len(read)))
        elif kind == "subword":
            assert {place for start, end in places for place in range(start, end)} >= {
                place for place, character in enumerate(read) if not character.isspace()
            }
        else:
            assert length <= 5
    assert [TEXTS[0].decode()[s:e] for s, e in zip(found["start"][0], found["end"][0], strict=True)][:2] == (
        {"word": ["The", "plot"], "subword": ["The", " "]}.get(kind, ["T", "h"])
    )
    assert np.abs(found["importance"][0]).max() > 1e-3
