"""Classifiers that may say that they don't know: thresholds, answers, what evaluation says of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from label_set_data import OPTIONS as LABEL_SET_OPTIONS
from label_set_data import label_set_rows
from trained import PLAIN, overrides

import textrnn
from app.config import load_config
from app.evaluate import evaluate
from app.export import export
from app.tasks.classification.rejection import choose_threshold, of_scope
from app.train import train
from app.verify import verify
from data.errors import UserError

Command = Callable[..., Result]
Write = Callable[[Path, list[dict[str, object]]], None]

OPTIONS = (
    *PLAIN,
    *("model.embedding_size=8", "training.learning_rate=0.1", "training.epochs=8", "training.batch_size=16"),
)


def rows(split: str, size: int) -> list[dict[str, object]]:
    """Return texts of three classes; of the word `hm` either of two may follow, half of the time each."""
    generator = random.Random(split)
    found: list[dict[str, object]] = []
    for number in range(size):
        label = generator.choice(["good", "bad", "other"])
        words = {"good": ["fine", "great"], "bad": ["awful", "poor"], "other": ["weather", "train"]}[label]
        word = "hm" if label != "other" and generator.random() < 0.4 else generator.choice(words)
        found.append({"text": f"it is {word} {split} {number}", "label": label})
    return found


@pytest.fixture(scope="module")
def unclear(tmp_path_factory: pytest.TempPathFactory, jsonl: Write) -> Path:
    """Return a folder of such texts."""
    folder = tmp_path_factory.mktemp("unclear") / "data"
    for split, size in (("train", 240), ("validation", 120), ("test", 120)):
        jsonl(folder / f"{split}.jsonl", rows(split, size))
    return folder


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory, unclear: Path) -> Path:
    """Return a run whose labels are to be right in 98 % of all cases."""
    run = tmp_path_factory.mktemp("careful") / "run"
    own = [*OPTIONS, "decision.precision=0.98", "decision.out_of_scope=other"]
    assert train(
        "classification", str(unclear), load_config("classification", overrides=own), run=run
    ).finished
    return run


def test_what_is_unclear_gets_no_label(careful: Path) -> None:
    """Labels are given for clear texts alone; the best label of the others stays among the probabilities."""
    clear, unclear = textrnn.load(careful).predict(["it is great", "it is hm"])

    assert clear["label"] == "good"
    assert unclear["label"] is None
    assert 0.3 < unclear["score"] < 0.8
    assert unclear["score"] == max(unclear["probabilities"].values())


def test_evaluation_counts_labels_and_those_that_are_right(careful: Path) -> None:
    """The accuracy of all best labels stands beside the share of texts with a label, and their accuracy."""
    found = evaluate(careful, with_baseline=False)

    assert found["labelled_accuracy"] > found["accuracy"] + 0.05
    assert 0.5 < found["coverage"] < 0.85
    assert found["out_of_scope"]["recall"] == 1
    assert found["out_of_scope"]["precision"] < 0.9  # texts without a label count as out of scope
    assert found["out_of_scope"]["in_scope_accuracy"] < found["labelled_accuracy"]


def test_an_export_knows_the_threshold(careful: Path, unclear: Path) -> None:
    """An export gives the same answers, and passes its verification."""
    exported = export(careful, output=careful.parent / "export")
    texts = [str(row["text"]) for row in rows("test", 20)]
    labels = [[line["label"] for line in textrnn.load(path).predict(texts)] for path in (careful, exported)]

    assert labels[0] == labels[1]
    assert None in labels[0]
    assert evaluate(exported, data=str(unclear), with_baseline=False)["coverage"] < 1
    assert verify(exported).passed


def test_coverage(unclear: Path, tmp_path: Path) -> None:
    """A wanted share of the validation texts gets a label, or a little more."""
    config = load_config("classification", overrides=[*OPTIONS, "decision.coverage=0.5"])
    train("classification", str(unclear), config, run=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]

    assert 0.5 <= lines[-1]["validation_coverage"] < 0.8
    assert evaluate(tmp_path / "run", split="validation", with_baseline=False)["coverage"] < 0.8


def test_reject_below(command: Command, careful: Path) -> None:
    """`predict --reject-below` rejects more than the model does."""
    texts = "it is great\nit is hm\n"
    every, none = (
        command("predict", careful, "--reject-below", share, stdin=texts).stdout.splitlines()
        for share in ("0.1", "1")
    )

    assert [json.loads(line)["label"] for line in every] == ["good", None]
    assert [json.loads(line)["label"] for line in none] == [None, None]


def test_labels_with_thresholds_of_their_own(command: Command, jsonl: Write, tmp_path: Path) -> None:
    """Texts with any number of labels have no threshold of the text."""
    for split, size in (("train", 60), ("validation", 20)):
        jsonl(tmp_path / "data" / f"{split}.jsonl", label_set_rows(split, size))
    refused = command(
        *("train", "classification", tmp_path / "data", "--run", tmp_path / "no"),
        *overrides(*LABEL_SET_OPTIONS, "decision.coverage=0.9"),
    )
    config = load_config("classification", overrides=[*LABEL_SET_OPTIONS, "training.epochs=1"])
    train("classification", str(tmp_path / "data"), config, run=tmp_path / "run")
    predicted = command("predict", tmp_path / "run", "--reject-below", "0.5", stdin="a ball\n")

    assert refused.exit_code == predicted.exit_code == 1
    assert "any number of labels, each with a threshold of its own; leave it out" in refused.stderr
    assert "any number of labels, each with a threshold of its own; leave it out" in predicted.stderr


def test_precision_and_coverage_exclude_each_other() -> None:
    """Both choose one threshold."""
    with pytest.raises(UserError, match=r"precision = 0.9 contradicts coverage = 0.8"):
        load_config("classification", overrides=["decision.precision=0.9", "decision.coverage=0.8"])


CONFIDENCES = np.array([0.9, 0.5, 0.8, 0.7, 0.7], np.float32)
CORRECT = np.array([True, False, True, False, True])


@pytest.mark.parametrize(
    ("precision", "coverage", "threshold"),
    [
        (0.99, 1.0, 0.8),
        (0.75, 1.0, 0.7),
        (0.6, 1.0, 0.0),
        (0.0, 0.2, 0.9),
        (0.0, 0.3, 0.8),
        (0.0, 0.6, 0.7),
        (0.0, 0.9, 0.0),
    ],
)
def test_thresholds(precision: float, coverage: float, threshold: float) -> None:
    """It is the lowest that has the precision, or the highest that has the coverage."""
    found = choose_threshold(CONFIDENCES, CORRECT, precision=precision, coverage=coverage)

    assert found == np.float32(threshold)


def test_a_precision_that_no_threshold_has() -> None:
    """The threshold with the highest precision is the best that can be done."""
    found = choose_threshold(CONFIDENCES, ~CORRECT, precision=0.9, coverage=1.0)

    assert found == np.float32(0)  # the less certain half is right here
    assert choose_threshold(CONFIDENCES[:0], CORRECT[:0], precision=0.9, coverage=1.0) == 0


def test_scope() -> None:
    """A text without a label counts as found; a label that does not occur has no text."""
    labelled = np.array([True, False, True, True])
    predicted, targets = np.array([0, 1, 2, 1]), np.array([0, 2, 2, 0])
    found = of_scope(labelled, predicted, targets, ["a", "b", "oos"], "oos")

    assert found == {"label": "oos", "precision": 1.0, "recall": 1.0, "f1": 1.0, "in_scope_accuracy": 0.5}
    assert of_scope(labelled, predicted, targets, ["a", "b", "c"], "oos")["recall"] == 0
