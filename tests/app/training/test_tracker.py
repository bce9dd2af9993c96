"""MLflow gets configuration, metrics and the end of a training; a failure of it is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from trained import PLAIN, metrics

from app.artifacts.run import open_run, read_run_manifest
from app.config import TaskConfig
from app.config.keys import keys_of
from app.train import train
from app.training import tracker
from app.training.events import Epoch, Message, TrainedRun
from data.errors import UserError

Configured = Callable[..., TaskConfig]
Trained = Callable[..., tuple[TrainedRun, list[str]]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let MLflow use a folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name, value in tracker.SETTINGS.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "store"


@pytest.fixture
def trained(reviews: Path, configured: Configured, tmp_path: Path) -> Trained:
    """Return a function that trains a tiny network, and returns the run and the messages."""

    def run(*chosen: str, stop_after: int = 99, **options: Any) -> tuple[TrainedRun, list[str]]:
        events: list[Any] = []
        config = configured(*PLAIN, f"data.directory={tmp_path / 'data'}", "training.tracker=mlflow", *chosen)
        found = train(
            "classification",
            str(reviews),
            config,
            run=tmp_path / "run",
            watcher=events.append,
            should_stop=lambda: sum(isinstance(event, Epoch) for event in events) >= stop_after,
            **options,
        )
        return found, [
            event.text for event in events if isinstance(event, Message) and "MLflow" in event.text
        ]

    return run


def tracked() -> list[Run]:
    """Return the runs of MLflow."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name("textrnn")
    found: list[Run] = list(client.search_runs([experiment.experiment_id])) if experiment else []
    return found


def history(run: Run, name: str) -> list[tuple[int, float]]:
    """Return steps and values of a metric."""
    return [(own.step, own.value) for own in MlflowClient().get_metric_history(run.info.run_id, name)]


def test_a_training(store: Path, trained: Trained) -> None:
    """MLflow has all keys, all lines of metrics.jsonl, what the run is, and that it is finished."""
    found, said = trained("training.epochs=2", "training.steps_per_checkpoint=2")

    (run,) = tracked()
    manifest = read_run_manifest(found.path)
    lines = metrics(found.path)
    assert said == [f"{found.path}: is run {run.info.run_id} of MLflow at {store.as_uri()}"]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params.keys() == keys_of(type(open_run(found.path).config)).keys()
    assert run.data.params["model.layers"] == "0"
    for name in ("loss", "gradient_norm", "gradient_norm/embedding", "validation_accuracy", "epoch"):
        expected = [(line["step"], line[name]) for line in lines if name in line]
        assert expected
        assert history(run, name.replace("/", ".")) == [
            (step, pytest.approx(value)) for step, value in expected
        ]
    assert (
        run.data.tags.items()
        >= {
            "task": "classification",
            "dataset_hash": manifest.dataset_hash,
            "run": str(found.path),
            "version.keras": manifest.versions["keras"],
        }.items()
    )
    assert {file.path for file in MlflowClient().list_artifacts(run.info.run_id)} == {
        *("config.toml", "metrics.jsonl")
    }
    open_run(found.path)  # the file with the id is none of those with a checksum


def test_an_interrupted_training_is_one_run(store: Path, trained: Trained) -> None:
    """The run of MLflow is continued: each step is there once; another number of epochs is no conflict."""
    trained("training.epochs=2", stop_after=1)
    (killed,) = tracked()
    found, said = trained("training.epochs=3", resume=True)

    (run,) = tracked()
    assert killed.info.status == "KILLED"
    assert run.info.run_id == killed.info.run_id
    assert run.info.status == "FINISHED"
    assert said == [f"{found.path}: continues run {run.info.run_id} of MLflow at {store.as_uri()}"]
    assert [step for step, _ in history(run, "loss")] == [line["step"] for line in metrics(found.path)]
    assert len(history(run, "validation_loss")) == 3


@pytest.mark.usefixtures("store")
def test_tracked_from_the_middle(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is tracked when it is resumed, or at another server, is there as a whole."""
    trained("training.epochs=2", "training.tracker=none", stop_after=1)
    found, _ = trained("training.epochs=2", resume=True)
    assert len(history(tracked()[0], "validation_loss")) == 2

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "other").as_uri())
    trained("training.epochs=3", resume=True)

    (run,) = tracked()
    assert [step for step, _ in history(run, "loss")] == [line["step"] for line in metrics(found.path)]


@pytest.mark.usefixtures("store")
def test_a_failed_training(trained: Trained) -> None:
    """A loss that is not finite ends as `FAILED`."""
    with pytest.raises(UserError, match="loss is not finite"):
        trained(
            "training.learning_rate=1e38", "training.warmup=0", "training.epochs=9", "training.clip_norm=0"
        )

    assert [run.info.status for run in tracked()] == ["FAILED"]


@pytest.mark.usefixtures("store")
def test_a_failure_of_mlflow_is_one_line(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot be reached, or fails later, is named once; the training ends as it would."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    found, said = trained("training.epochs=2")

    (sentence,) = said
    assert found.finished
    assert sentence.startswith(f"{found.path}: MLflow fails, and gets nothing more of this training: ")
    assert "127.0.0.1" in sentence
    assert "\n" not in sentence


@pytest.mark.usefixtures("store")
def test_mlflow_fails_later(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure nothing more is sent."""
    calls = []

    def refuse(self: object, *_: object, metrics: object = None, params: object = None) -> None:
        if metrics:
            calls.append(metrics)
            raise OSError("the disk\nis full")

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)

    found, said = trained("training.epochs=2")

    assert found.finished
    assert [text.rpartition(": ")[2] for text in said[1:]] == ["the disk is full"]
    assert len(calls) == 1


def test_without_mlflow(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is missing is found before anything is written."""
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"tracker = 'mlflow' needs mlflow; pip install 'textrnn\[mlflow\]'"):
        trained()

    assert not (tmp_path / "run").exists()


# MLflow's own tables make SQLAlchemy warn.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_default_store(
    trained: Trained, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server, runs are in the file of the working directory that `mlflow ui` shows."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    monkeypatch.chdir(tmp_path)

    trained("training.epochs=1")

    assert (tmp_path / "mlflow.db").is_file()
    assert not store.exists()
    assert [run.info.status for run in tracked()] == ["FINISHED"]
