"""A new task is one folder and one line of `app.tasks.TASKS`, as CONTRIBUTING.md says."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import app.tasks
from app.config import load_config
from app.export import export
from app.prediction.loading import load_predictor
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.repository import Repository
from app.train import train

Command = Callable[..., Result]
Jsonl = Callable[..., None]

WORDS = ("red", "green", "blue", "black", "white", "brown")
SETTINGS = (
    "model.units=8",
    "model.embedding_size=8",
    "model.dropout=0",
    "model.word_dropout=0",
    "training.batch_size=50",
    "training.epochs=15",
    "training.learning_rate=0.05",
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    """Add the task: the one line outside of its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(app.tasks.TASKS, "pairs", "pairs.task")
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, jsonl: Jsonl) -> Path:
    """Return pairs of colours: `same` if the second text names the colour of the first."""
    folder, chance = tmp_path_factory.mktemp("pairs") / "colours", random.Random(0)
    for split, size in (("train", 300), ("validation", 40), ("test", 60)):
        rows = []
        for _ in range(size):
            first = chance.choice(WORDS)
            second = first if chance.random() < 0.5 else chance.choice(WORDS)
            label = "same" if first == second else "different"
            rows.append({"first": f"it is {first}", "second": f"a {second} one", "label": label})
        jsonl(folder / f"{split}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    """Return a trained run of the task."""
    path = tmp_path_factory.mktemp("run") / "colours"
    assert train("pairs", str(table), load_config("pairs", overrides=SETTINGS), run=path).finished
    return path


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the export of the run."""
    return export(run, output=tmp_path_factory.mktemp("export") / "colours")


def evaluated(command: Command, *words: object) -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    found: dict[str, Any] = json.loads(command("evaluate", *words, "--json").stdout)
    return found


def test_it_learns(command: Command, run: Path) -> None:
    """The model compares both texts: it is better than any model that reads only one of them."""
    found = evaluated(command, run)

    assert found["task"] == "pairs"
    assert found["examples"] == 60
    assert found["accuracy"] > 0.8
    assert set(found["per_class"]) == {"different", "same"}


def test_an_export_has_the_metrics_of_its_run(
    command: Command, run: Path, exported: Path, table: Path
) -> None:
    """Run and export have the same metrics on the same data."""
    of_run, of_export = (evaluated(command, model, "--data", table) for model in (run, exported))

    assert of_export["loss"] == pytest.approx(of_run["loss"], rel=1e-5)
    assert {**of_export, "loss": 0} == {**of_run, "loss": 0}


def test_validation_is_that_of_the_export(command: Command, run: Path) -> None:
    """The in-graph preprocessing gives the same loss as the batches of the training."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line.get("best")][-1]

    assert evaluated(command, run, "--split", "validation")["loss"] == pytest.approx(
        best["validation_loss"], rel=1e-4, abs=1e-6
    )


def test_predictions(command: Command, run: Path, exported: Path, table: Path, tmp_path: Path) -> None:
    """`predict` reads both texts from the columns of training; run and export print the same lines."""
    rows = [json.loads(line) for line in (table / "test.jsonl").read_text().splitlines()]
    (tmp_path / "in.csv").write_text(
        "".join(f"{a},{b}\n" for a, b in [("first", "second"), *((r["first"], r["second"]) for r in rows)])
    )

    of_run, of_export = (command("predict", model, tmp_path / "in.csv") for model in (run, exported))

    assert of_run.exit_code == 0
    assert of_run.stdout == of_export.stdout
    lines = [json.loads(line) for line in of_run.stdout.splitlines()]
    assert np.mean([a["label"] == b["label"] for a, b in zip(lines, rows, strict=True)]) > 0.8


def test_verify(command: Command, exported: Path) -> None:
    """`verify` accepts the export."""
    result = command("verify", exported)

    assert result.exit_code == 0, result.stderr


def test_the_model_card(command: Command, run: Path, exported: Path) -> None:
    """Runs and exports have a card; what cannot be measured of the task is left out."""
    assert "It gives a pair of texts a label." in (exported / "README.md").read_text()
    stated = command("card", run, "--set", "card.license=mit")

    assert stated.exit_code == 0, stated.stderr
    text = (run / "README.md").read_text()
    assert 'license: "mit"' in text
    assert '"instances": [{"first": "good", "second": "good"}]' in text
    assert "| accuracy |" in text
    assert "out of vocabulary" not in text
    before = (run / "card.json").read_text()
    command("card", run)
    assert (run / "card.json").read_text() == before


def test_the_server_loads_it(run: Path, exported: Path) -> None:
    """The server loads the export and computes what the run computes."""
    inputs = {
        "first": np.array([b"it is red", b"it is blue"], object),
        "second": np.array([b"a red one", b"a black one"], object),
    }
    expected = load_predictor(run).run("serving_default", inputs)
    repository = Repository({"colours": exported.parent}, metrics=Metrics(), log=Log(io.StringIO()))
    repository.poll()
    try:
        with repository.acquire("colours") as servable:
            found = servable.signatures["serving_default"](inputs)
    finally:
        repository.stop()

    assert found["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)


def test_padding_changes_nothing(run: Path) -> None:
    """A pair has the same prediction alone and in a batch with longer ones."""
    predictor = load_predictor(run)
    first, second = [b"it is red", b"", b"it is blue"], [b"a red one", b"a black one " * 5, b""]

    def probabilities(rows: list[int]) -> np.ndarray:
        inputs = {"first": [first[i] for i in rows], "second": [second[i] for i in rows]}
        return predictor.run("serving_default", inputs)["probabilities"]

    together = probabilities([0, 1, 2])
    for i in range(3):
        np.testing.assert_allclose(probabilities([i])[0], together[i], atol=1e-5)


def test_a_metric_of_the_task_selects(table: Path, tmp_path: Path) -> None:
    """The metrics of the task may select the best epoch, and are in the records."""
    settings = (*SETTINGS, "training.early_stopping_metric=macro_f1", "training.epochs=1")

    result = train("pairs", str(table), load_config("pairs", overrides=settings), run=tmp_path / "run")

    assert {"validation_loss", "validation_macro_f1"} <= result.best.keys()
