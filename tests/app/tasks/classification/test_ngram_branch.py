"""The linear model of n-grams beside a recurrent classifier: fitted, evaluated, exported, resumed."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_set_data import OPTIONS, SIZES, label_set_rows
from scipy import sparse
from trained import PLAIN, metrics, same, weights

from app.artifacts.run import open_run
from app.config import TaskConfig, load_config
from app.evaluate import evaluate
from app.export import export
from app.prediction.loading import load_keras_model, load_predictor
from app.tasks.calibration import choose_weights
from app.tasks.classification.ngrams import _with_character_ngrams
from app.train import train
from app.training.events import Event, Message
from app.verify import verify
from data.errors import UserError

Configured = Callable[..., TaskConfig]
Process = Callable[..., subprocess.CompletedProcess[str]]
StopAt = Callable[..., dict[str, Any]]
Write = Callable[[Path, list[dict[str, object]]], None]

WIDE = (*PLAIN, "model.ngrams=2", "training.epochs=2", "training.deterministic=true")

SERVED = r"""
import base64, json, sys
import tensorflow as tf

job = json.load(sys.stdin)
texts = [base64.b64decode(text) for text in job["texts"]]
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], job["export"]).signature_def["branches"]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    found = session.run(outputs, {signature.inputs["text"].name: texts})
json.dump({name: value.tolist() for name, value in found.items()}, sys.stdout)
"""


def negated(split: str, size: int) -> list[dict[str, object]]:
    """Return texts whose class depends on a bigram, never on a word alone."""
    generator = random.Random(split)
    rows: list[dict[str, object]] = []
    for number in range(size):
        words = [f"{split}{number}", generator.choice(["film", "plot"])]
        bad, turned = generator.random() < 0.5, generator.random() < 0.5
        words += ["not" if turned else "so", "bad" if bad else "good"]
        words += [] if turned else ["not", "that"]
        words += ["so"] if turned else []
        rows.append({"text": " ".join(words), "label": "neg" if bad != turned else "pos"})
    return rows


@pytest.fixture(scope="module")
def reviews_of_bigrams(tmp_path_factory: pytest.TempPathFactory, jsonl: Write) -> Path:
    """Return a folder of such texts."""
    folder = tmp_path_factory.mktemp("bigrams") / "data"
    for split, size in SIZES.items():
        jsonl(folder / f"{split}.jsonl", negated(split, size))
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews_of_bigrams: Path) -> Path:
    """Return a run with bigrams beside pooled embeddings, which know no order."""
    path = tmp_path_factory.mktemp("wide") / "run"
    assert train("classification", str(reviews_of_bigrams), configured(*WIDE), run=path).finished
    return path


@pytest.fixture(scope="module")
def exported(wide: Path) -> Path:
    """Return its export."""
    return export(wide, output=wide.parent / "export")


def test_bigrams_are_learned(wide: Path) -> None:
    """The whole and the n-grams are right where pooled embeddings are not."""
    found = evaluate(wide, with_baseline=False)

    assert found["accuracy"] == found["branches"]["ngrams"]["accuracy"] == 1
    assert found["branches"]["recurrent"]["accuracy"] < 0.9
    assert set(found["branches"]["recurrent"]) == {"accuracy", "macro_f1"}


def test_the_loss_of_the_recurrent_branch(wide: Path, reviews_of_bigrams: Path) -> None:
    """Each epoch records it: the loss of what the branch predicts alone."""
    rows = negated("validation", SIZES["validation"])
    predictor = load_predictor(wide)
    found = predictor.run_texts("branches", [str(row["text"]).encode() for row in rows])["recurrent"]
    classes = predictor.run_texts("serving_default", [b"film"])["classes"][0].tolist()
    own = [
        probabilities[classes.index(str(row["label"]).encode())]
        for probabilities, row in zip(found, rows, strict=True)
    ]
    best = [line for line in metrics(wide) if line.get("best")][-1]

    assert best["validation_recurrent_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert best["validation_recurrent_loss"] > best["validation_loss"]


def test_an_export_has_the_branches(
    wide: Path, exported: Path, reviews_of_bigrams: Path, process: Process, tmp_path: Path
) -> None:
    """An export verifies, evaluates as its run does, and serves the branches in a session of TF1."""
    texts = [str(row["text"]).encode() for row in negated("test", 9)]
    data = str(reviews_of_bigrams)
    expected = evaluate(wide, data=data, with_baseline=False)
    found = evaluate(exported, data=data, with_baseline=False)
    job = {"texts": [base64.b64encode(text).decode() for text in texts], "export": str(exported)}
    served = process("-I", "-c", SERVED, cwd=tmp_path, stdin=json.dumps(job))
    assert served.returncode == 0, served.stderr

    assert found["branches"] == expected["branches"]
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    for name, values in load_predictor(wide).run_texts("branches", texts).items():
        np.testing.assert_allclose(json.loads(served.stdout)[name], values, atol=1e-5)
    assert verify(exported).passed


def test_the_explanation_adds_up(wide: Path) -> None:
    """The importances of a text sum to its log-odds minus those of unknown words, and bigrams count."""
    predictor = load_predictor(wide)
    text, unknown = b"film so good not that", b"zz zz zz zz zz"
    found = predictor.run_texts("explain", [text])
    outputs = predictor.run_texts("serving_default", [text, unknown])
    label = outputs["classes"][0].tolist().index(found["label"][0])
    odds = [np.log(row[label] / (1 - row[label])) for row in outputs["probabilities"]]

    assert found["importance"].sum() == pytest.approx(odds[0] - odds[1], abs=0.02)
    assert np.abs(found["importance"]).max() > 0.1


def test_resuming_is_exact(
    wide: Path, configured: Configured, reviews_of_bigrams: Path, stop_at: StopAt, tmp_path: Path
) -> None:
    """A training that was interrupted ends with the same weights, those of the branches included."""
    arguments = "classification", str(reviews_of_bigrams), configured(*WIDE)
    assert not train(*arguments, run=tmp_path / "run", **stop_at(epoch=1, step=3)).finished
    assert train(*arguments, run=tmp_path / "run", resume=True).finished

    assert same(weights(tmp_path / "run"), weights(wide))
    assert load_keras_model(open_run(wide)).branch_weights.numpy().min() >= 0


def test_words_alone_do_not_suffice(configured: Configured, reviews_of_bigrams: Path, tmp_path: Path) -> None:
    """The same with a linear model of words is not right: it is the bigrams that tell."""
    config = configured(*WIDE, "model.ngrams=1", "training.epochs=1")
    train("classification", str(reviews_of_bigrams), config, run=tmp_path / "run")

    assert evaluate(tmp_path / "run", with_baseline=False)["branches"]["ngrams"]["accuracy"] < 1


def test_several_labels(tmp_path: Path, jsonl: Write) -> None:
    """Each label has a linear model and, in each branch, a threshold of its own."""
    for split, size in SIZES.items():
        jsonl(tmp_path / "data" / f"{split}.jsonl", label_set_rows(split, size))
    config = load_config(
        "classification",
        overrides=[*OPTIONS, "model.ngrams=2", "training.epochs=1", "training.learning_rate=1e-4"],
    )
    train("classification", str(tmp_path / "data"), config, run=tmp_path / "run")
    found = evaluate(tmp_path / "run", with_baseline=False)

    branches = found["branches"]
    assert branches["ngrams"]["micro_f1"] > 0.9 > branches["recurrent"]["micro_f1"]
    assert found["micro_f1"] > 0.9
    assert set(branches["ngrams"]) == {"micro_f1", "macro_f1", "subset_accuracy", "average_precision"}


def test_a_run_of_an_earlier_version(tmp_path: Path) -> None:
    """A run whose configuration does not name the key has no n-grams; a new one has."""
    (tmp_path / "config.toml").write_text('task = "classification"\nformat = 1\n')

    assert load_config(file=tmp_path / "config.toml", require_format=True).model.ngrams == 0
    assert load_config("classification").model.ngrams == 2


@pytest.mark.parametrize("value", ["5-3", "0", "3-", "-3", "three"])
def test_wrong_lengths_of_character_ngrams(value: str) -> None:
    """What is not a length, or two in order, is refused with what is allowed."""
    with pytest.raises(UserError, match=r"character_ngrams = .*: expected .*such as 3-5"):
        load_config("classification", overrides=[f"model.character_ngrams={value}"])


@pytest.mark.parametrize("several", [False, True])
def test_weights_of_the_branches(several: bool) -> None:
    """They are where the cross-entropy is lowest, never below 0."""
    random_numbers = np.random.default_rng(0)
    truth = random_numbers.normal(size=(400, 3))
    noise = random_numbers.gumbel(size=truth.shape)
    targets = truth + noise > 0.5 if several else (truth + noise).argmax(axis=1)

    if not several:
        weights = choose_weights([2 * truth, np.zeros_like(truth)], targets)
        assert weights[0] == pytest.approx(0.5, abs=0.1)
    misleading, telling = choose_weights([-truth, truth], targets)
    assert telling - misleading == pytest.approx(1, abs=0.6)
    assert choose_weights([truth[:0], truth[:0]], targets[:0]).tolist() == [1, 1]


def test_predictions_that_are_all_correct_are_not_certain() -> None:
    """Of N correct predictions the mean confidence is that of one mistake in N + 2."""
    targets = np.arange(98) % 2
    logits = np.where(np.eye(2)[targets] > 0, 1.0, -1.0)
    weights = choose_weights([logits, logits], targets)

    assert 1 / (1 + np.exp(-2 * weights.sum())) == pytest.approx(0.99, abs=1e-3)


def test_character_ngrams_are_computed_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The features are those of the whole matrix, in the same order, which the solver's sums depend on."""
    words, ngrams = sparse.random_array((6, 40), density=0.4, rng=1), None
    features = sparse.hstack([sparse.random_array((50, 6), density=0.5, rng=2), np.eye(50, 3)], format="csr")
    assert _with_character_ngrams(features, ngrams) is features
    expected = sparse.hstack([features, features[:, :6] @ words.tocsr()], format="csr")

    monkeypatch.setattr("app.tasks.classification.ngrams.ROWS_AT_ONCE", 7)
    found = _with_character_ngrams(features, words.tocsr())

    assert found.shape == expected.shape == (50, 49)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_it_is_fitted_to_some_of_many_tokens(
    reviews_of_bigrams: Path, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more tokens than can be in memory, it is fitted to evenly spaced examples, and training says so."""
    said: list[str] = []

    def watch(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Message) else [])

    monkeypatch.setattr("app.tasks.classification.ngrams.MOST_TOKENS", 700)
    options = (*WIDE, "training.epochs=1")
    trained = train(
        "classification", str(reviews_of_bigrams), configured(*options), run=tmp_path / "run", watcher=watch
    )

    assert trained.finished
    (sentence,) = [text for text in said if "fitting a linear model" in text]
    fitted, examples = re.fullmatch(r".* n-grams, to (\d+) of (\d+) examples", sentence).groups()  # type: ignore[union-attr]
    assert int(examples) == SIZES["train"]
    assert 80 < int(fitted) < 160
