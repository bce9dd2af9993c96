"""`textrnn evaluate`: metrics of a run or an export, and of the baseline."""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)
from trained import export_quickly

import app.evaluate
from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig, load_config
from app.evaluate import evaluate
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from app.tasks import get_task
from app.tasks.classification.facts import ClassificationFacts
from app.terminal.tables import show_evaluation
from app.train import train
from data.splits import ALL_SPLITS, Splitting, row_hash, split_of

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Jsonl = Callable[..., None]

SHARES = Splitting().shares([ALL_SPLITS])[ALL_SPLITS]
PLAIN = ("model.layers=0", "model.dropout=0", "model.word_dropout=0")


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Load each model once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.evaluate, "load_predictor", functools.cache(load_predictor))
        yield


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def evaluated(command: Command, *arguments: object) -> dict[str, Any]:
    """Return the object that `evaluate --json` prints, and nothing else."""
    result = command("evaluate", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def metrics(command: Command, run: Path) -> dict[str, Any]:
    """Return the metrics of the run on its test examples."""
    return evaluated(command, run)


def test_the_object(metrics: dict[str, Any]) -> None:
    """`--json` prints one object with the keys of the contract."""
    assert metrics["task"] == "classification"
    assert metrics["dataset"] == "reviews"
    assert metrics["split"] == "test"
    assert metrics["examples"] == 14
    assert metrics.keys() == {
        *("task", "dataset", "split", "examples", "loss", "accuracy", "macro_f1", "per_class", "confusion"),
        *("intervals", "baseline", "comparison"),
        *("expected_calibration_error", "brier_score", "reliability", "risk_coverage"),
    }


def test_metrics_are_those_of_the_predictions(
    command: Command, run: Path, reviews: Path, metrics: dict[str, Any]
) -> None:
    """All metrics are those of what `predict` prints for the same texts."""
    printed = command("predict", run, reviews / "test.jsonl").stdout.splitlines()
    predictions = [json.loads(line) for line in printed]
    labels = ["negative", "positive"]
    truth = [row["label"] for row in rows_of(reviews / "test.jsonl")]
    predicted = [prediction["label"] for prediction in predictions]
    probabilities = np.array(
        [[prediction["probabilities"][label] for label in labels] for prediction in predictions], np.float32
    )
    expected = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)

    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert metrics["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert metrics["loss"] == pytest.approx(log_loss(truth, probabilities, labels=labels), rel=1e-4)
    assert metrics["confusion"] == confusion_matrix(truth, predicted, labels=labels).tolist()
    for i, label in enumerate(labels):
        row = metrics["per_class"][label]
        assert list(row) == ["precision", "recall", "f1", "support"]
        assert list(row.values()) == pytest.approx([values[i] for values in expected])
        assert row["support"] == truth.count(label)


def metrics_of(probabilities: np.ndarray, targets: list[int], labels: list[str]) -> dict[str, Any]:
    """Evaluate given predictions for texts that are their own numbers, in batches of two."""
    preprocessing = Preprocessing({"labels": [label.encode() for label in labels]}, ClassificationFacts())
    info: Any = SimpleNamespace(preprocessing=preprocessing, config=load_config("classification"))
    dataset: Any = SimpleNamespace(name="numbers", names={"label": tuple(labels)})

    def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.gather(probabilities, [int(number) for number in text.numpy()])}

    rows = [
        {"text": np.array([b"%d" % i for i in batch], object), "label": np.array([targets[i] for i in batch])}
        for batch in np.array_split(np.arange(len(targets)), -(-len(targets) // 2))
    ]
    task: Any = get_task("classification")
    predictor = Predictor(info, {"serving_default": serving_default})
    found: dict[str, Any] = task.predictions.evaluate(predictor, dataset, rows).metrics
    return found


def test_three_classes() -> None:
    """Metrics of six predictions, counted by hand; a row of the confusion matrix is a true class."""
    probabilities = np.array(
        [
            [0.7, 0.2, 0.1],  # a as a
            [0.2, 0.5, 0.3],  # a as b
            [0.1, 0.8, 0.1],  # a as b
            [0.25, 0.5, 0.25],  # b as b
            [0.6, 0.2, 0.2],  # c as a
            [0.3, 0.3, 0.4],  # c as c
        ],
        np.float32,
    )

    found = metrics_of(probabilities, [0, 0, 0, 1, 2, 2], ["a", "b", "c"])

    assert found["confusion"] == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["loss"] == pytest.approx(-sum(map(math.log, (0.7, 0.2, 0.1, 0.5, 0.2, 0.4))) / 6)
    assert found["per_class"] == {
        "a": pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "support": 3}),
        "b": pytest.approx({"precision": 1 / 3, "recall": 1, "f1": 1 / 2, "support": 1}),
        "c": pytest.approx({"precision": 1, "recall": 1 / 2, "f1": 2 / 3, "support": 2}),
    }
    assert found["macro_f1"] == pytest.approx((2 / 5 + 1 / 2 + 2 / 3) / 3)


def test_a_class_that_never_occurs() -> None:
    """A class without examples and predictions has scores of 0; a probability of 0 has a finite loss."""
    probabilities = np.array([[1, 0, 0], [1, 0, 0]], np.float32)

    found = metrics_of(probabilities, [0, 1], ["a", "b", "c"])

    assert found["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert math.isfinite(found["loss"])
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("split", "size"), [("train", 40), ("validation", 12), ("test", 14), ("all", 66)])
def test_splits(command: Command, run: Path, split: str, size: int) -> None:
    """Each split is evaluated by its name, and all examples by `all`."""
    found = evaluated(command, run, "--split", split, "--no-baseline")

    assert (found["split"], found["examples"]) == (split, size)
    assert sum(map(sum, found["confusion"])) == size
    assert "baseline" not in found


def test_validation_is_what_training_saw(command: Command, run: Path) -> None:
    """The metrics of the validation split are those of the best epoch of the training."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line.get("best")][-1]

    found = evaluated(command, run, "--split", "validation", "--no-baseline")

    for name in ("loss", "accuracy", "macro_f1"):
        assert found[name] == pytest.approx(best[f"validation_{name}"], rel=1e-5)


def test_other_data(command: Command, run: Path, reviews: Path, tmp_path: Path, jsonl: Jsonl) -> None:
    """`--data FILE --split all` evaluates on every row of a file, even if a label is missing."""
    rows = [row for row in rows_of(reviews / "test.jsonl") if row["label"] == "positive"]
    jsonl(tmp_path / "newer.jsonl", rows)
    predictions = command("predict", run, tmp_path / "newer.jsonl").stdout.splitlines()
    right = [json.loads(line)["label"] for line in predictions].count("positive")

    found = evaluated(command, run, "--data", tmp_path / "newer.jsonl", "--split", "all")

    assert found["dataset"] == "newer"
    assert found["examples"] == len(rows)
    assert found["per_class"]["positive"]["support"] == len(rows)
    assert found["per_class"]["negative"]["support"] == 0
    assert found["confusion"] == [[0, 0], [len(rows) - right, right]]
    assert 0 <= found["baseline"]["accuracy"] <= 1


def test_a_single_row(command: Command, run: Path, tmp_path: Path, jsonl: Jsonl) -> None:
    """A file of one row can be evaluated, whichever split its hash selects."""
    rows = [{"text": f"number {i}", "label": "positive"} for i in range(100)]
    for split in ("train", "validation", "test"):
        row = next(row for row in rows if split_of(row_hash({"text": row["text"]}), SHARES) == split)
        jsonl(tmp_path / f"{split}.jsonl", [row])
        options = ("--data", tmp_path / f"{split}.jsonl", "--split", "all", "--no-baseline")
        assert evaluated(command, run, *options)["examples"] == 1


def test_each_example_has_its_own_target(
    command: Command, run: Path, reviews: Path, tmp_path: Path, jsonl: Jsonl
) -> None:
    """With every label swapped, correct predictions are wrong and wrong ones correct."""
    turned = {"positive": "negative", "negative": "positive"}
    rows = rows_of(reviews / "test.jsonl")
    jsonl(tmp_path / "same.jsonl", rows)
    jsonl(tmp_path / "turned.jsonl", [row | {"label": turned[row["label"]]} for row in rows])

    same, other = (
        evaluated(command, run, "--data", tmp_path / name, "--split", "all", "--no-baseline")
        for name in ("same.jsonl", "turned.jsonl")
    )

    assert same["accuracy"] + other["accuracy"] == pytest.approx(1)
    assert other["confusion"] == same["confusion"][::-1]


# The baseline


@pytest.fixture(scope="module")
def turning(
    tmp_path_factory: pytest.TempPathFactory, configured: Configured, jsonl: Jsonl
) -> tuple[Path, Path]:
    """Return data whose test labels are the opposite of its training labels, and a run on it."""
    folder = tmp_path_factory.mktemp("turning")
    names = [f"name{i}" for i in range(30)]
    rows = [{"text": f"{word} {name}", "label": word} for name in names for word in ("alpha", "beta")]
    other = {"alpha": "beta", "beta": "alpha"}
    jsonl(folder / "data/train.jsonl", rows)
    jsonl(folder / "data/test.jsonl", [row | {"label": other[row["label"]]} for row in rows])
    train("classification", str(folder / "data"), configured(*PLAIN), run=folder / "run")
    return folder / "data", folder / "run"


def test_the_baseline_learns_from_the_training_examples(command: Command, turning: tuple[Path, Path]) -> None:
    """The baseline learns from the training examples of the run only."""
    _, run = turning
    manifest = json.loads((run / "manifest.json").read_text())

    found = evaluated(command, run)["baseline"]

    assert found["accuracy"] == found["macro_f1"] == 0
    assert found["rows"] == manifest["examples"]["train"] == 60 - manifest["examples"]["validation"] < 60


def test_the_baseline_of_other_data(
    command: Command, turning: tuple[Path, Path], tmp_path: Path, jsonl: Jsonl
) -> None:
    """On other data, too, the baseline is trained on the training examples of the run."""
    _, run = turning
    rows = [{"text": f"{word} {i}", "label": word} for i in range(10) for word in ("alpha", "beta")]
    jsonl(tmp_path / "data.jsonl", rows)

    found = evaluated(command, run, "--data", tmp_path / "data.jsonl", "--split", "all")

    assert found["baseline"]["accuracy"] == 1
    assert found["baseline"]["rows"] < 60


def test_the_baseline_is_the_same_again(command: Command, run: Path, metrics: dict[str, Any]) -> None:
    """Evaluated again, a run and its baseline have the same metrics."""
    assert evaluated(command, run) == metrics


def test_no_data_no_baseline(
    command: Command, turning: tuple[Path, Path], tmp_path: Path, jsonl: Jsonl
) -> None:
    """Without its training data a run is evaluated on other data; the baseline has an error entry."""
    _, run = turning
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(turning[0], tmp_path / "data")
    jsonl(tmp_path / "other.jsonl", [{"text": f"alpha {i}", "label": "alpha"} for i in range(12)])
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    manifest["data"] = str(tmp_path / "gone")
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))

    found = evaluated(command, tmp_path / "run", "--data", tmp_path / "other.jsonl", "--split", "all")

    assert found["examples"] == 12
    assert "gone" in found["baseline"]["error"]
    assert command("evaluate", tmp_path / "run").exit_code == 1


def test_changed_data(command: Command, configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """A run is not evaluated on its data if that has changed since."""
    shutil.copytree(reviews, tmp_path / "data")
    train("classification", str(tmp_path / "data"), configured(*PLAIN), run=tmp_path / "run")
    with (tmp_path / "data/test.jsonl").open("a") as file:
        file.write('{"text": "good", "label": "positive"}\n')

    result = command("evaluate", tmp_path / "run")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'data'} has changed since")
    assert "--data" in result.stderr
    assert result.stderr.count("\n") == 1


def test_from_another_directory(
    configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that was given by a relative path is found from another working directory."""
    shutil.copytree(reviews, tmp_path / "here/data")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train("classification", "data", configured(*PLAIN), run=tmp_path / "run")
    monkeypatch.chdir(tmp_path / "there")

    assert evaluate(tmp_path / "run")["examples"] == 14


def test_tables(command: Command, run: Path, metrics: dict[str, Any]) -> None:
    """Without `--json` the same metrics are printed as a table, next to those of the baseline."""
    result = command("evaluate", run)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "classification · reviews · test · 14 " in result.stdout
    for line in (
        ["accuracy", f"{metrics['accuracy']:.4f}", f"{metrics['baseline']['accuracy']:.4f}"],
        ["macro_f1", f"{metrics['macro_f1']:.4f}", f"{metrics['baseline']['macro_f1']:.4f}"],
        ["loss", f"{metrics['loss']:.4f}", "–"],
        ["positive", *(f"{v:.4f}" for v in list(metrics["per_class"]["positive"].values())[:3])],
    ):
        assert any(words.split()[: len(line)] == line for words in result.stdout.splitlines()), line


def test_tables_show_labels_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A label that looks like markup is printed unchanged; true and predicted labels are distinguished."""
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    labels = ["[bold]x[/bold]", "[/]"]
    show_evaluation(
        {
            "task": "classification",
            "dataset": "d",
            "split": "test",
            "examples": 7,
            "accuracy": 0.5,
            "per_class": dict.fromkeys(labels, row),
            "confusion": [[1, 5], [0, 1]],
        }
    )

    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].split() == ["[bold]x[/bold]", "[/]", "5"]
    assert "[/]  " in printed


# Exports


def test_an_export_has_the_metrics_of_its_run(
    command: Command, run: Path, exported: Path, reviews: Path
) -> None:
    """An export and its parent directory have the same metrics as the run on the same data."""
    of_run, of_export, of_parent = (
        evaluated(command, model, "--data", reviews, "--no-baseline")
        for model in (run, exported, exported.parent)
    )

    assert of_run.keys() == of_export.keys()
    assert of_export == of_parent
    assert of_export["loss"] == pytest.approx(of_run["loss"], rel=1e-5)
    assert {**of_export, "loss": 0} == {**of_run, "loss": 0}


def test_an_export_of_other_data_asks_for_data(command: Command, exported: Path) -> None:
    """An export does not record a path; the error names the option to give the data."""
    result = command("evaluate", exported)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {exported} ")
    assert "--data" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_baseline_of_an_export(command: Command, exported: Path, reviews: Path) -> None:
    """An export without its training data has metrics; the baseline has an error entry that names --data."""
    found = evaluated(command, exported, "--data", reviews)

    assert found["examples"] == 14
    assert found["baseline"].keys() == {"name", "error"}
    assert "--data" in found["baseline"]["error"]


def test_an_export_finds_its_sample(command: Command, configured: Configured, tmp_path: Path) -> None:
    """An export of a model that was trained on a sample is evaluated on it, with the baseline of the run."""
    options = (*PLAIN, "training.batch_size=500", "text.max_length=20")
    train("classification", "sample:reviews", configured(*options), run=tmp_path / "run")
    path = export_quickly(tmp_path / "run", output=tmp_path / "export")

    of_run, of_export = (evaluated(command, model) for model in (tmp_path / "run", path))

    assert of_export["dataset"] == of_run["dataset"] == "sample_reviews"
    assert of_export["examples"] == of_run["examples"] > 100
    assert of_export["accuracy"] == of_run["accuracy"]
    assert of_export["baseline"] == of_run["baseline"]
    assert of_export["baseline"]["accuracy"] > 0.5


def test_the_baseline_learns_from_texts_of_bounded_size(
    command: Command,
    turning: tuple[Path, Path],
    tmp_path: Path,
    jsonl: Jsonl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of texts larger than that it is fitted to the first ones, and it predicts all texts of the split."""
    _, run = turning
    rows = [{"text": f"{word} other{i}", "label": word} for i in range(3000) for word in ("alpha", "beta")]
    jsonl(tmp_path / "data.jsonl", rows)
    data = ("--data", tmp_path / "data.jsonl", "--split", "all")
    monkeypatch.setattr("app.tasks.linear_baseline.MOST_EXAMPLES", 21)

    found = evaluated(command, run, *data)["baseline"]

    assert found["rows"] == 21
    assert found["accuracy"] == 1
