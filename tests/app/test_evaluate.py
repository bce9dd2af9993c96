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
from click.testing import Result
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

import app.evaluate
from app.config import TaskConfig
from app.evaluate import evaluate
from app.prediction.loading import load_predictor
from app.tasks import get_task
from app.terminal.tables import show_evaluation
from app.train import train
from data.splits import FILE_SHARES, row_hash, split_of

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Jsonl = Callable[..., None]

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
    """Return what `evaluate --json` printed: one object, and nothing else."""
    result = command("evaluate", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def figures(command: Command, run: Path) -> dict[str, Any]:
    """Return the figures of the run on its test rows."""
    return evaluated(command, run)


def test_the_object(figures: dict[str, Any]) -> None:
    """`--json` prints one object with the keys of the contract."""
    assert figures["task"] == "classification"
    assert figures["dataset"] == "reviews"
    assert figures["split"] == "test"
    assert figures["examples"] == 14
    assert figures.keys() == {
        *("task", "dataset", "split", "examples", "loss", "accuracy", "macro_f1", "per_class", "confusion"),
        "baseline",
    }


def test_figures_are_those_of_the_predictions(
    command: Command, run: Path, reviews: Path, figures: dict[str, Any]
) -> None:
    """All figures follow from what `predict` answers to the same texts."""
    printed = command("predict", run, reviews / "test.jsonl").stdout.splitlines()
    answers = [json.loads(line) for line in printed]
    labels = ["negative", "positive"]
    truth = [row["label"] for row in rows_of(reviews / "test.jsonl")]
    predicted = [answer["label"] for answer in answers]
    probabilities = [[answer["probabilities"][label] for label in labels] for answer in answers]
    expected = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)

    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert figures["loss"] == pytest.approx(log_loss(truth, probabilities, labels=labels), rel=1e-4)
    assert figures["confusion"] == confusion_matrix(truth, predicted, labels=labels).tolist()
    for i, label in enumerate(labels):
        row = figures["per_class"][label]
        assert list(row) == ["precision", "recall", "f1", "support"]
        assert list(row.values()) == pytest.approx([values[i] for values in expected])
        assert row["support"] == truth.count(label)


def figures_of(probabilities: np.ndarray, targets: list[int], labels: list[str]) -> dict[str, Any]:
    """Evaluate answers to texts that are their own numbers, in batches of two."""
    run: Any = SimpleNamespace(vocabularies=lambda: {"labels": [label.encode() for label in labels]})
    dataset: Any = SimpleNamespace(name="numbers", names={"label": tuple(labels)})

    def predictor(texts: np.ndarray) -> dict[str, np.ndarray]:
        return {"probabilities": probabilities[[int(text) for text in texts]]}

    rows = [
        {"text": np.array([b"%d" % i for i in batch], object), "label": np.array([targets[i] for i in batch])}
        for batch in np.array_split(np.arange(len(targets)), -(-len(targets) // 2))
    ]
    task: Any = get_task("classification")
    found: dict[str, Any] = task.evaluate(predictor, run, dataset, rows)
    return found


def test_three_classes() -> None:
    """Figures of six answers, counted by hand; a row of the confusion is a true class."""
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

    found = figures_of(probabilities, [0, 0, 0, 1, 2, 2], ["a", "b", "c"])

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
    """A class without rows and answers counts 0, and a probability of 0 is no infinite loss."""
    probabilities = np.array([[1, 0, 0], [1, 0, 0]], np.float32)

    found = figures_of(probabilities, [0, 1], ["a", "b", "c"])

    assert found["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert math.isfinite(found["loss"])
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("split", "size"), [("train", 40), ("validation", 12), ("test", 14), ("all", 66)])
def test_splits(command: Command, run: Path, split: str, size: int) -> None:
    """Each split is evaluated by its name, and all rows by `all`."""
    found = evaluated(command, run, "--split", split, "--no-baseline")

    assert (found["split"], found["examples"]) == (split, size)
    assert sum(map(sum, found["confusion"])) == size
    assert "baseline" not in found


def test_validation_is_what_training_saw(command: Command, run: Path) -> None:
    """On the validation rows the figures are those that the best epoch was chosen by."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line.get("best")][-1]

    found = evaluated(command, run, "--split", "validation", "--no-baseline")

    for name in ("loss", "accuracy", "macro_f1"):
        assert found[name] == pytest.approx(best[f"validation_{name}"], rel=1e-5)


def test_other_data(command: Command, run: Path, reviews: Path, tmp_path: Path, jsonl: Jsonl) -> None:
    """`--data FILE --split all` evaluates on every row of a file, whichever labels it has."""
    rows = [row for row in rows_of(reviews / "test.jsonl") if row["label"] == "positive"]
    jsonl(tmp_path / "newer.jsonl", rows)
    answers = command("predict", run, tmp_path / "newer.jsonl").stdout.splitlines()
    right = [json.loads(line)["label"] for line in answers].count("positive")

    found = evaluated(command, run, "--data", tmp_path / "newer.jsonl", "--split", "all")

    assert found["dataset"] == "newer"
    assert found["examples"] == len(rows)
    assert found["per_class"]["positive"]["support"] == len(rows)
    assert found["per_class"]["negative"]["support"] == 0
    assert found["confusion"] == [[0, 0], [len(rows) - right, right]]
    assert 0 <= found["baseline"]["accuracy"] <= 1


def test_a_single_row(command: Command, run: Path, tmp_path: Path, jsonl: Jsonl) -> None:
    """A file of one row is enough to evaluate on, whichever split its hash would give it."""
    rows = [{"text": f"number {i}", "label": "positive"} for i in range(100)]
    for split in ("train", "validation", "test"):
        row = next(row for row in rows if split_of(row_hash({"text": row["text"]}), FILE_SHARES) == split)
        jsonl(tmp_path / f"{split}.jsonl", [row])
        options = ("--data", tmp_path / f"{split}.jsonl", "--split", "all", "--no-baseline")
        assert evaluated(command, run, *options)["examples"] == 1


def test_every_row_has_its_own_target(
    command: Command, run: Path, reviews: Path, tmp_path: Path, jsonl: Jsonl
) -> None:
    """With every label turned round, right is wrong and wrong is right: rows and targets are paired."""
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
    """Return data whose test rows say the opposite of its training rows, and a run on it."""
    folder = tmp_path_factory.mktemp("turning")
    names = [f"name{i}" for i in range(30)]
    rows = [{"text": f"{word} {name}", "label": word} for name in names for word in ("alpha", "beta")]
    other = {"alpha": "beta", "beta": "alpha"}
    jsonl(folder / "data/train.jsonl", rows)
    jsonl(folder / "data/test.jsonl", [row | {"label": other[row["label"]]} for row in rows])
    train("classification", str(folder / "data"), configured(*PLAIN), run=folder / "run")
    return folder / "data", folder / "run"


def test_the_baseline_learns_from_training_rows(command: Command, turning: tuple[Path, Path]) -> None:
    """The baseline learned from the rows that the run learned from, and from none else."""
    _, run = turning
    manifest = json.loads((run / "manifest.json").read_text())

    found = evaluated(command, run)["baseline"]

    assert found["accuracy"] == found["macro_f1"] == 0
    assert found["rows"] == manifest["rows"]["train"] == 60 - manifest["rows"]["validation"] < 60


def test_the_baseline_of_other_data(
    command: Command, turning: tuple[Path, Path], tmp_path: Path, jsonl: Jsonl
) -> None:
    """On other data, too, the baseline is the one of the run's training rows."""
    _, run = turning
    rows = [{"text": f"{word} {i}", "label": word} for i in range(10) for word in ("alpha", "beta")]
    jsonl(tmp_path / "data.jsonl", rows)

    found = evaluated(command, run, "--data", tmp_path / "data.jsonl", "--split", "all")

    assert found["baseline"]["accuracy"] == 1
    assert found["baseline"]["rows"] < 60


def test_the_baseline_is_the_same_again(command: Command, run: Path, figures: dict[str, Any]) -> None:
    """Evaluated again, a run and its baseline have the same figures."""
    assert evaluated(command, run) == figures


def test_no_data_no_baseline(
    command: Command, turning: tuple[Path, Path], tmp_path: Path, jsonl: Jsonl
) -> None:
    """Where the run's own data is gone its figures on other data stand; the baseline says why."""
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
    """A run is not evaluated on data that was changed under its name."""
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
    """Data that was named from where the training ran is found again from elsewhere."""
    shutil.copytree(reviews, tmp_path / "here/data")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train("classification", "data", configured(*PLAIN), run=tmp_path / "run")
    monkeypatch.chdir(tmp_path / "there")

    assert evaluate(tmp_path / "run")["examples"] == 14


def test_tables(command: Command, run: Path, figures: dict[str, Any]) -> None:
    """Without `--json` a person reads the same figures, beside the baseline's."""
    result = command("evaluate", run)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "classification · reviews · test · 14 rows" in result.stdout
    for line in (
        ["accuracy", f"{figures['accuracy']:.4f}", f"{figures['baseline']['accuracy']:.4f}"],
        ["macro_f1", f"{figures['macro_f1']:.4f}", f"{figures['baseline']['macro_f1']:.4f}"],
        ["loss", f"{figures['loss']:.4f}", "–"],
        ["positive", *(f"{v:.4f}" for v in list(figures["per_class"]["positive"].values())[:3])],
    ):
        assert any(words.split()[: len(line)] == line for words in result.stdout.splitlines()), line


def test_tables_show_labels_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A label that looks like markup is printed as it stands; truth and answer are told apart."""
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
