from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import PLAIN, epoch_lines, metrics, overrides, same, weights

from app.artifacts.run import open_run
from app.config import TaskConfig, dump_config
from app.train import train

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


EXACT = (
    "training.deterministic=true",
    "training.epochs=3",
    "training.batch_size=2",
    "model.cell=gru",
    "model.bidirectional=false",
    "model.recurrent_dropout=0.2",
    "model.ngrams=2",
    "training.learning_rate=0.02",
    "training.early_stopping_patience=0",
)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path) -> Path:
    """Return a run with every kind of dropout, trained without a break."""
    path = tmp_path_factory.mktemp("exact") / "run"
    assert train("classification", str(reviews), configured(*EXACT), run=path).finished
    return path


def test_a_configuration_repeats_its_run(
    command: Command, exact: Path, reviews: Path, tmp_path: Path
) -> None:
    """`train --config RUN/config.toml` gives the same weights, bit for bit, and the same figures."""
    result = command(
        "train", "classification", reviews, "--config", exact / "config.toml", "--run", tmp_path / "run"
    )

    assert result.exit_code == 0
    assert (tmp_path / "run/config.toml").read_bytes() == (exact / "config.toml").read_bytes()
    assert same(weights(tmp_path / "run"), weights(exact))
    assert epoch_lines(tmp_path / "run") == epoch_lines(exact)


def start_training(folder: Path, reviews: Path, *more: str) -> subprocess.Popen[str]:
    """Start `textrnn train` in a separate process that writes its state after each step."""
    tiny = ("model.units=4", "model.embedding_size=4")
    words = ["train", "classification", str(reviews), "--run", "run"]
    words += overrides(*tiny, *EXACT, "training.steps_per_checkpoint=1")
    return subprocess.Popen(
        [sys.executable, "-m", "app", *words, *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(process: subprocess.Popen[str], path: Path, count: int) -> None:
    """Wait until a process has written so many lines, or has ended."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= count:
            return
        time.sleep(0.005)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """Return a run whose process was killed in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    process = start_training(folder, reviews)
    try:
        wait_for_lines(process, folder / "run/metrics.jsonl", 27)
    finally:
        process.kill()
    _, messages = process.communicate()
    assert process.returncode == -signal.SIGKILL, messages
    return folder / "run"


@pytest.fixture(scope="module")
def resumed(killed: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return the killed run after the same command with `--resume`, and what that printed."""
    folder = tmp_path_factory.mktemp("resumed")
    shutil.copytree(killed, folder / "run")
    (folder / "run/checkpoints/.textrnn-partial-0a1b2c3d-state.npz").write_bytes(b"incomplete")
    process = start_training(folder, reviews, "--resume")
    output, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    return folder / "run", output, messages


def test_a_killed_training_is_not_complete(command: Command, killed: Path) -> None:
    """What `kill -9` leaves is a run that says that it is not finished, its state in mid-epoch."""
    with np.load(killed / "checkpoints/state.npz") as state:
        progress = json.loads(str(state["progress"]))

    assert json.loads((killed / "manifest.json").read_text())["complete"] is False
    assert progress["epoch"] == 1
    assert 0 < progress["step"] < 20
    assert command("evaluate", killed).stderr.startswith(f"Error: {killed}: training is not finished")


def test_a_resumed_training_ends_at_the_same_weights(resumed: tuple[Path, str, str], exact: Path) -> None:
    """Killed and resumed, a training ends at the same weights and figures, bit for bit."""
    run, _, _ = resumed

    assert same(weights(run), weights(exact))
    assert epoch_lines(run) == epoch_lines(exact)
    steps = [line["step"] for line in metrics(run)]
    assert steps == list(range(1, 61))


def test_a_resumed_training_tidies_up(resumed: tuple[Path, str, str]) -> None:
    """What a killed process had written by half is gone at the end."""
    run, _, _ = resumed

    assert [path.name for path in (run / "checkpoints").iterdir()] == ["state.npz"]


def test_stdout_of_a_resumed_training(resumed: tuple[Path, str, str]) -> None:
    """Nothing but the run's path goes to stdout, whatever the libraries say."""
    _, output, messages = resumed

    assert output == "run\n"
    assert "run: resuming at epoch 2, step " in messages


def test_stderr_of_a_resumed_training(resumed: tuple[Path, str, str]) -> None:
    """The libraries' chatter does not reach stderr."""
    _, _, messages = resumed

    layout, resuming, *_ = messages.splitlines()
    assert layout.endswith("; JSON Lines")
    assert resuming.startswith("run: resuming at epoch 2, step ")


def test_resumed_in_the_same_process(
    configured: Configured, exact: Path, reviews: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    """A training that was stopped and is resumed in the same Python process ends at the same weights."""
    config, stops = configured(*EXACT), stop_at(epoch=2, step=3)
    first = train("classification", str(reviews), config, run=tmp_path / "run", **stops)
    assert not first.finished

    second = train("classification", str(reviews), configured(*EXACT), run=tmp_path / "run", resume=True)

    assert second.finished
    assert same(weights(tmp_path / "run"), weights(exact))


Stopped = tuple[Path, Path, list[str]]


@pytest.fixture(scope="module")
def stopped(
    tmp_path_factory: pytest.TempPathFactory, configured: Configured, reviews: Path, stop_at: StopAt
) -> Stopped:
    """Return a run that was stopped in its first epoch, its data, and the words of its command."""
    folder = tmp_path_factory.mktemp("stopped")
    shutil.copytree(reviews, folder / "data")
    chosen = [*PLAIN, "training.batch_size=8", "training.epochs=2"]
    config, stops = configured(*chosen), stop_at(epoch=1, step=3)
    trained = train("classification", str(folder / "data"), config, run=folder / "run", **stops)
    assert not trained.finished
    (folder / "config.toml").write_text(dump_config(config))
    words = ["train", "classification", str(folder / "data"), "--config", str(folder / "config.toml")]
    return folder / "run", folder / "data", words


def test_a_stopped_training(stopped: Stopped) -> None:
    """A training that is asked to stop writes its state after the step."""
    run, _, _ = stopped
    with np.load(run / "checkpoints/state.npz") as state:
        progress = json.loads(str(state["progress"]))

    assert (progress["epoch"], progress["step"]) == (0, 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(reviews: Path, tmp_path: Path, number: int) -> None:
    """Ctrl-C and SIGTERM end a training after its step; the message says how to continue."""
    process = start_training(tmp_path, reviews, *overrides("training.epochs=30", *PLAIN))
    wait_for_lines(process, tmp_path / "run/metrics.jsonl", 2)
    process.send_signal(number)
    output, messages = process.communicate(timeout=240)

    assert process.returncode == 130
    assert output == ""
    assert messages.splitlines()[-1] == "run: interrupted; run the same command with --resume to continue"
    assert (tmp_path / "run/checkpoints/state.npz").exists()


def test_interrupted_between_epochs(
    configured: Configured, reviews: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    """Ctrl-C ends a training too where each epoch is a single step."""
    config = configured(*PLAIN, "training.batch_size=64", "training.epochs=5")

    stops = stop_at(epoch=1, step=1)
    trained = train("classification", str(reviews), config, run=tmp_path / "run", **stops)

    assert not trained.finished
    assert len(metrics(tmp_path / "run")) < 5


@pytest.mark.parametrize("assignment", ["model.embedding_size=5", "seed=1", "training.batch_size=3"])
def test_no_resume_with_another_configuration(
    command: Command, snapshot: Snapshot, stopped: Stopped, assignment: str
) -> None:
    """A key that decides a training's course can't be changed on the way; the message names it."""
    run, _, words = stopped
    before = snapshot(run)

    result = command(*words, "--run", run, "--resume", "--set", assignment)

    key, _, value = assignment.partition("=")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {run}: cannot be resumed with another configuration: {key} was ")
    assert f", is {value}; only these may change: training.epochs, " in result.stderr
    assert snapshot(run) == before


def test_no_resume_with_changed_data(
    command: Command, snapshot: Snapshot, stopped: Stopped, tmp_path: Path
) -> None:
    """Rows that were changed since are noticed."""
    run, data, words = stopped
    shutil.copytree(data, tmp_path / "data")
    with (tmp_path / "data/train.jsonl").open("a") as file:
        file.write('{"text": "good", "label": "positive"}\n')
    before = snapshot(run)

    words = [str(tmp_path / "data") if word == str(data) else word for word in words]
    result = command(*words, "--run", run, "--resume")

    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"Error: {run}: cannot be resumed: it was trained on other data: dataset_hash was "
    )
    assert snapshot(run) == before


def test_no_resume_from_a_broken_state(command: Command, stopped: Stopped, tmp_path: Path) -> None:
    """A state that was cut off is refused by its name."""
    run, _, words = stopped
    shutil.copytree(run, tmp_path / "run")
    state = tmp_path / "run/checkpoints/state.npz"
    state.write_bytes(state.read_bytes()[:-100])

    result = command(*words, "--run", tmp_path / "run", "--resume")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {state}: cannot be read (")


def test_a_damaged_state(stopped: Stopped, configured: Configured, tmp_path: Path, stop_at: StopAt) -> None:
    """A truncated state is replaced by the one before it, with a message, and nothing else changes."""
    _, data, _ = stopped
    config = configured(*PLAIN, "training.batch_size=8", "training.steps_per_checkpoint=1")
    stops = stop_at(epoch=1, step=4)
    expected = train("classification", str(data), config, run=tmp_path / "whole")
    train("classification", str(data), config, run=tmp_path / "run", **stops)
    state = tmp_path / "run/checkpoints/state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    events: list[Any] = []

    found = train(
        "classification", str(data), config, run=tmp_path / "run", resume=True, watcher=events.append
    )

    _, first, second, *_ = events  # the first event is the layout of the data
    assert first.text.startswith(f"{state}: cannot be read (")
    assert first.text.endswith("; resuming from the state before it")
    assert second.text == f"{tmp_path / 'run'}: resuming at epoch 1, step 5"
    assert same(weights(found.path), weights(expected.path))


@pytest.fixture
def finished(run: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_resume_of_a_finished_run(
    command: Command, snapshot: Snapshot, finished: Path, reviews: Path
) -> None:
    """`--resume` of a finished run with the same command trains nothing, and succeeds."""
    before = snapshot(finished)

    result = command(
        "train",
        "classification",
        reviews,
        "--run",
        finished,
        "--resume",
        "--config",
        finished / "config.toml",
    )

    assert result.exit_code == 0
    assert result.stdout == f"{finished}\n"
    assert snapshot(finished) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classification", "{reviews}", "--set", "training.epochs=1"], "training.epochs was 2, is 1"),
        (["classification", "{reviews}", "--set", "model.cell=gru"], "model.cell was 'lstm', is 'gru'"),
        (["classification", "sample:reviews"], "it was trained on other data: dataset_hash was "),
        (["tagging", "sample:tags"], "its task is classification, not tagging"),
    ],
)
def test_a_finished_run_is_not_resumed_as_another(
    command: Command, snapshot: Snapshot, finished: Path, reviews: Path, words: list[str], said: str
) -> None:
    """`--resume` of a finished run is refused with another task, data or configuration, naming it."""
    before = snapshot(finished)
    words = [word.format(reviews=reviews) for word in words]

    config = ["--config", finished / "config.toml"] if words[0] == "classification" else []
    result = command("train", *words[:2], *config, *words[2:], "--run", finished, "--resume")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {finished}: cannot be resumed")
    assert said in result.stderr
    assert snapshot(finished) == before


def test_resume_of_nothing_begins(command: Command, reviews: Path, tmp_path: Path) -> None:
    """The same command with `--resume` also begins a training that was stopped before its run was made."""
    tiny = overrides(*PLAIN, "training.epochs=1")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", "--resume", *tiny)

    assert result.exit_code == 0
    assert open_run(tmp_path / "run").task == "classification"
