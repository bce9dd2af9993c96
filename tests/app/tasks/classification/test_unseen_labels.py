"""Labels of validation and test examples that no training example has: they count as wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from sklearn.metrics import f1_score
from trained import PLAIN, metrics, overrides

from app.config import load_config
from app.prediction.loading import load_predictor
from app.train import train
from data.errors import UserError

Command = Callable[..., Result]
Jsonl = Callable[..., None]
OPTIONS = (*PLAIN, "model.embedding_size=8", "training.learning_rate=0.1", "training.epochs=4")


def rows(split: str, size: int, *others: str) -> list[dict[str, Any]]:
    """Return examples of two classes, and one of each of the others."""
    found = [
        {"text": f"{word} {split} {i}", "label": label}
        for i in range(size)
        for word, label in (("good", "yes"), ("bad", "no"))
    ]
    return [*found, *({"text": f"odd {split} {other}", "label": other} for other in others)]


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory, jsonl: Jsonl) -> Path:
    """Return a run whose validation has a class that train has not, and whose test split has two of them."""
    base = tmp_path_factory.mktemp("unseen")
    jsonl(base / "data" / "train.jsonl", rows("train", 20))
    jsonl(base / "data" / "validation.jsonl", rows("validation", 5, "maybe", "maybe not"))
    jsonl(base / "data" / "test.jsonl", rows("test", 5, "never", "a class", "maybe"))
    config = load_config("classification", overrides=OPTIONS)
    assert train("classification", str(base / "data"), config, run=base / "run").finished
    return base / "run"


@pytest.fixture(scope="module")
def evaluated(command: Command, unseen: Path) -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    found: dict[str, Any] = json.loads(command("evaluate", unseen, "--json").stdout)
    return found


def test_the_model_does_not_learn_them(unseen: Path) -> None:
    """The labels of the model are those of the training examples, in alphabetical order."""
    assert load_predictor(unseen).info.preprocessing.labels == [b"no", b"yes"]


def test_validation(unseen: Path) -> None:
    """Their examples are wrong, the loss is that of the others, and training goes on."""
    best = [line for line in metrics(unseen) if line["best"]][-1]
    outputs = load_predictor(unseen).run_texts(
        "serving_default", [row["text"].encode() for row in rows("validation", 5)]
    )
    losses = [
        -np.log(p[["no", "yes"].index(row["label"])])
        for p, row in zip(outputs["probabilities"], rows("validation", 5), strict=True)
    ]

    assert best["validation_accuracy"] == pytest.approx(10 / 12)
    assert best["validation_macro_f1"] < 0.5  # four classes, two of which are never right
    assert best["validation_loss"] == pytest.approx(float(np.mean(losses)), rel=1e-3)


def test_evaluate(evaluated: dict[str, Any], unseen: Path) -> None:
    """They are listed with their number of examples, and have an F1 of 0."""
    examples = rows("test", 5, "never", "a class", "maybe")
    outputs = load_predictor(unseen).run_texts("serving_default", [row["text"].encode() for row in examples])
    predicted = [label.decode() for label in outputs["label"]]
    truth = [row["label"] for row in examples]

    assert evaluated["examples"] == 13
    assert evaluated["unseen_labels"] == {"a class": 1, "maybe": 1, "never": 1}
    assert evaluated["accuracy"] == pytest.approx(10 / 13)
    assert evaluated["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert list(evaluated["per_class"]) == ["no", "yes", "a class", "maybe", "never"]
    assert evaluated["per_class"]["never"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert np.array(evaluated["confusion"]).shape == (5, 5)
    assert np.sum(evaluated["confusion"]) == 13
    assert np.array(evaluated["confusion"])[:, 2:].sum() == 0  # never predicted


def test_the_loss_of_evaluate(evaluated: dict[str, Any], unseen: Path) -> None:
    """It is the mean over the examples whose label the model knows."""
    known = rows("test", 5)
    outputs = load_predictor(unseen).run_texts("serving_default", [row["text"].encode() for row in known])
    own = [
        p[["no", "yes"].index(row["label"])] for p, row in zip(outputs["probabilities"], known, strict=True)
    ]

    assert evaluated["loss"] == pytest.approx(float(-np.log(own).mean()), rel=1e-4)


def test_the_baseline_is_wrong_too(evaluated: dict[str, Any]) -> None:
    """The linear model is compared on the same examples."""
    assert evaluated["baseline"]["accuracy"] == pytest.approx(10 / 13)
    assert evaluated["baseline"]["macro_f1"] < 0.5


def test_the_table(command: Command, unseen: Path) -> None:
    """It names them, and the confusions with them."""
    printed = command("evaluate", unseen, "--no-baseline").stdout

    assert "labels that the model does not know: a class (1), maybe (1), never (1)" in printed
    assert "never" in printed.partition("most frequent confusions")[2]


def test_other_data_with_unseen_labels_only(
    command: Command, unseen: Path, tmp_path: Path, jsonl: Jsonl
) -> None:
    """Everything is wrong, and there is no loss."""
    jsonl(tmp_path / "other.jsonl", [{"text": "good", "label": "x"}, {"text": "bad", "label": "y"}])
    result = command(
        *("evaluate", unseen, "--data", tmp_path / "other.jsonl", "--split", "all", "--json", "--no-baseline")
    )
    found = json.loads(result.stdout)

    assert (found["accuracy"], found["macro_f1"]) == (0, 0)
    assert found["unseen_labels"] == {"x": 1, "y": 1}
    assert "loss" not in found


def test_validation_with_unseen_labels_only(tmp_path: Path, jsonl: Jsonl) -> None:
    """It cannot select an epoch: an error says so. With validation examples of known labels it trains."""
    jsonl(tmp_path / "data" / "train.jsonl", rows("train", 5))
    jsonl(tmp_path / "data" / "validation.jsonl", rows("validation", 0, "x", "y"))
    config = load_config("classification", overrides=OPTIONS)

    with pytest.raises(UserError, match=r"no validation example has a label that occurs in train: 'x', 'y'"):
        train("classification", str(tmp_path / "data"), config, run=tmp_path / "run")
    jsonl(tmp_path / "data" / "validation.jsonl", rows("validation", 1, "x", "y"))
    assert train("classification", str(tmp_path / "data"), config, run=tmp_path / "run").finished


def test_a_warning_of_the_data_check(command: Command, tmp_path: Path, jsonl: Jsonl) -> None:
    """`datasets check` warns of them, and does not fail; `train` prints the warning and goes on."""
    jsonl(tmp_path / "data" / "train.jsonl", rows("train", 8))
    jsonl(tmp_path / "data" / "validation.jsonl", rows("validation", 8))
    jsonl(tmp_path / "data" / "test.jsonl", rows("test", 8, "ATIS", "ATIS two"))
    warning = "2 test examples have a label that does not occur in train: 'ATIS', 'ATIS two'"

    checked = command("datasets", "check", tmp_path / "data")
    trained = command(
        *("train", "classification", tmp_path / "data", "--run", tmp_path / "run"),
        *overrides(*PLAIN, "model.embedding_size=4", "training.epochs=1"),
    )

    assert checked.exit_code == trained.exit_code == 0
    assert warning in checked.stdout
    assert warning in trained.stderr


def test_a_model_of_one_label_and_data_with_sets(
    command: Command, unseen: Path, tmp_path: Path, jsonl: Jsonl
) -> None:
    """It is refused, in one line."""
    jsonl(tmp_path / "other.jsonl", [{"text": "good", "label": ["yes"]}, {"text": "bad", "label": []}])
    result = command(
        *("evaluate", unseen, "--data", tmp_path / "other.jsonl", "--split", "all"),
        *("--set", "data.labels=several", "--no-baseline"),
    )

    assert result.exit_code == 1
    assert "examples have sets of labels, and the model predicts one label" in result.stderr
