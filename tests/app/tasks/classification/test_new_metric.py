"""A new metric of classification is one entry of `scores.SCORES`, as CONTRIBUTING.md says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from sklearn.metrics import balanced_accuracy_score

from app.config import load_config
from app.metrics import Metric
from app.tasks.classification.scores import SCORES
from app.tasks.classification.task import TASK
from app.train import train

Command = Callable[..., Result]

NAME, TITLE = "balanced_accuracy", "balanced accuracy"
SETTINGS = (
    "model.units=4",
    "model.embedding_size=4",
    "model.layers=0",
    "training.epochs=1",
    f"training.early_stopping_metric={NAME}",
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Add the metric: the one entry."""

    def balanced_accuracy(predicted: np.ndarray, targets: np.ndarray, classes: int) -> float:
        return float(balanced_accuracy_score(targets, predicted))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCORES, Metric(NAME, TITLE), balanced_accuracy)
        yield


@pytest.fixture(scope="module")
def trained(command: Command, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return a run that was trained with the command line, and the result of the command."""
    run = tmp_path_factory.mktemp("metric") / "run"
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    result = command("train", "classification", reviews, "--run", run, *words)
    assert result.exit_code == 0, result.stderr
    return run, result


@pytest.fixture(scope="module")
def evaluated(command: Command, trained: tuple[Path, Result]) -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    found: dict[str, Any] = json.loads(command("evaluate", trained[0], "--json").stdout)
    return found


def test_it_is_recorded(trained: tuple[Path, Result]) -> None:
    """The record of an epoch has the metric of the validation examples."""
    (record,) = map(json.loads, (trained[0] / "metrics.jsonl").read_text().splitlines())

    assert 0 < record[f"validation_{NAME}"] <= 1


def test_it_is_shown(trained: tuple[Path, Result]) -> None:
    """The epoch line shows the metric with its title."""
    (line,) = [line for line in trained[1].stderr.splitlines() if line.startswith("epoch 1/1")]

    assert f"val {TITLE} " in line


def test_it_selects_the_best_epoch(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `training.early_stopping_metric` it keeps the epoch with the highest value."""
    script = [
        {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.5, NAME: 0.6},
        {"loss": 0.5, "accuracy": 0.9, "macro_f1": 0.9, NAME: 0.7},
        {"loss": 0.1, "accuracy": 0.9, "macro_f1": 0.9, NAME: 0.1},
    ]
    metrics = iter(script)
    monkeypatch.setattr(type(TASK.training), "evaluator", lambda *_: lambda: next(metrics))
    config = load_config("classification", overrides=[*SETTINGS, "training.epochs=3"])

    result = train("classification", str(reviews), config, run=tmp_path / "run")

    assert result.best["epoch"] == 2
    assert f'early_stopping_metric = "{NAME}"' in (tmp_path / "run/config.toml").read_text()


def test_it_is_evaluated(evaluated: dict[str, Any]) -> None:
    """`evaluate` reports the metric of the model, as computed from the confusion matrix."""
    confusion = np.array(evaluated["confusion"])

    recalls = confusion.diagonal() / confusion.sum(axis=1)
    assert evaluated[NAME] == pytest.approx(recalls.mean())


def test_the_baseline_has_it(evaluated: dict[str, Any]) -> None:
    """The baseline has the metric too."""
    assert 0 < evaluated["baseline"][NAME] <= 1


def test_the_table_has_it(command: Command, trained: tuple[Path, Result], evaluated: dict[str, Any]) -> None:
    """The table of `evaluate` has a row for the metric."""
    result = command("evaluate", trained[0])

    rows = [line.split() for line in result.stdout.splitlines() if NAME in line or TITLE in line]
    assert [[row[1], row[-1]] for row in rows] == [
        [f"{evaluated[NAME]:.4f}", f"{evaluated['baseline'][NAME]:.4f}"]
    ]
