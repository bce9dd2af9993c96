"""More epochs for a run: what continues, what is said of the schedule, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from trained import PLAIN, epoch_lines, overrides, same, weights

from app.artifacts.run import open_run, read_run_manifest
from app.config import FREE_ON_RESUME, TaskConfig
from app.train import train
from app.training.events import Message
from data.errors import UserError

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
StopAt = Callable[..., dict[str, Any]]
Trained = Callable[..., tuple[Path, list[str]]]

BASE = (
    *PLAIN,
    "training.deterministic=true",
    "training.learning_rate=0.05",
    "training.warmup=0",
    "training.early_stopping_patience=0",
)


@pytest.fixture(scope="module")
def trained(configured: Configured, reviews: Path) -> Trained:
    """Return a function that trains or resumes, and returns the run and the messages."""

    def run(path: Path, *chosen: str, resume: bool = True, **stops: Any) -> tuple[Path, list[str]]:
        events: list[Any] = []
        own = stops.pop("watcher", lambda event: None)

        def watcher(event: Any) -> None:
            events.append(event)
            own(event)

        config = configured(*BASE, *chosen)
        train("classification", str(reviews), config, run=path, resume=resume, watcher=watcher, **stops)
        return path, [event.text for event in events if isinstance(event, Message)]

    return run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> dict[str, Path]:
    """Return a finished run of two epochs with each schedule."""
    folder = tmp_path_factory.mktemp("two")
    for schedule in ("constant", "cosine"):
        trained(folder / schedule, "training.epochs=2", f"training.schedule={schedule}")
    return {schedule: folder / schedule for schedule in ("constant", "cosine")}


def test_more_epochs_with_a_constant_rate(two: dict[str, Path], trained: Trained, tmp_path: Path) -> None:
    """Two epochs and two more are four, bit for bit: weights, metrics, best epoch."""
    constant = "training.schedule=constant"
    whole, _ = trained(tmp_path / "whole", "training.epochs=4", constant)
    run = shutil.copytree(two["constant"], tmp_path / "run")

    _, messages = trained(run, "training.epochs=4", constant)

    change = (
        "from epoch 3, step 1: training.epochs was 2, is 4; the constant schedule goes on with a learning "
        "rate of 0.05"
    )
    assert f"{run}: {change}" in messages
    assert read_run_manifest(run).changes == [change]
    assert same(weights(run), weights(whole))
    assert epoch_lines(run) == epoch_lines(whole)
    assert (run / "config.toml").read_bytes() == (whole / "config.toml").read_bytes()


def test_more_epochs_with_a_cosine_rate(
    two: dict[str, Path], trained: Trained, tmp_path: Path, stop_at: StopAt
) -> None:
    """The schedule is spread over all epochs, and that is said; interrupted, the course is the same."""
    cosine = "training.schedule=cosine"
    run = shutil.copytree(two["cosine"], tmp_path / "run")
    again = shutil.copytree(two["cosine"], tmp_path / "again")

    _, messages = trained(run, "training.epochs=4", cosine)
    trained(again, "training.epochs=4", cosine, **stop_at(epoch=3, step=2))
    assert not read_run_manifest(again).complete
    trained(again, "training.epochs=0", cosine)

    change = "training.epochs was 2, is 4; the cosine schedule is spread over 4 epochs, not 2: the learning "
    assert any(change in message for message in messages)
    rates = [line["learning_rate"] for line in epoch_lines(run)]
    assert rates[1] == pytest.approx(0.001, rel=0.05)  # at the end of two epochs
    assert rates[2] == pytest.approx(0.05 * (0.98 * 0.5 * (1 + 2**-0.5 * -1) + 0.02), rel=0.05)
    assert rates[3] == pytest.approx(0.001, rel=0.05)
    assert open_run(run).config.training.epochs == open_run(again).config.training.epochs == 4
    assert epoch_lines(again) == epoch_lines(run)
    assert same(weights(again), weights(run))
    assert len(read_run_manifest(again).changes) == 1


def test_the_best_epoch_is_kept(two: dict[str, Path], trained: Trained, tmp_path: Path) -> None:
    """If no later epoch is better, the weights stay those of the best one."""
    run = shutil.copytree(two["constant"], tmp_path / "run")
    before, lines = weights(run), epoch_lines(run)

    trained(run, "training.epochs=4", "training.schedule=constant")

    after = epoch_lines(run)
    assert after[:2] == lines
    assert same(weights(run), before) is not any(line["best"] for line in after[2:])


def test_nothing_more_to_train(two: dict[str, Path], trained: Trained, tmp_path: Path) -> None:
    """With the same epochs, or their number left open, a finished run stays as it is."""
    run = shutil.copytree(two["constant"], tmp_path / "run")
    manifest = (run / "manifest.json").read_bytes()
    shutil.rmtree(run / "checkpoints")

    for chosen in ("training.epochs=2", "training.epochs=0", "training.steps_per_checkpoint=7"):
        trained(run, "training.epochs=2", chosen, "training.schedule=constant")

    assert (run / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            "training.epochs=1",
            "training.epochs was 2, is 1, and 2 epochs are begun; give at least 2, or leave",
        ),
        ("training.epochs=3", "its training state, .*state.npz, is missing; train a new run"),
        (
            "model.pooling=last",
            "model.pooling was 'mean', is 'last'; only these may change: training.epochs, ",
        ),
        ("seed=3", "seed was 0, is 3; only these may change"),
    ],
)
def test_a_course_that_is_refused(
    two: dict[str, Path], trained: Trained, tmp_path: Path, chosen: str, message: str
) -> None:
    """The message has both values, and the run stays as it is."""
    run = shutil.copytree(two["constant"], tmp_path / "run")
    if chosen == "training.epochs=3":
        shutil.rmtree(run / "checkpoints")
    manifest = (run / "manifest.json").read_bytes()

    with pytest.raises(UserError, match=message):
        trained(run, "training.epochs=2", "training.schedule=constant", chosen)

    assert (run / "manifest.json").read_bytes() == manifest
    assert open_run(run).manifest.complete


def test_a_finished_run_that_was_damaged(two: dict[str, Path], trained: Trained, tmp_path: Path) -> None:
    """`--resume` does not call it done."""
    run = shutil.copytree(two["constant"], tmp_path / "run")
    (run / "model.keras").unlink()

    with pytest.raises(UserError, match=r"model\.keras"):
        trained(run, "training.epochs=2", "training.schedule=constant")


def test_early_stopping(trained: Trained, tmp_path: Path) -> None:
    """A run that stopped early continues only with a larger patience, and the epochs since then count."""
    still = ("training.schedule=constant", "training.optimizer=sgd", "training.learning_rate=1e-30")
    patient = (*still, "training.epochs=9", "training.early_stopping_patience=1")
    run, _ = trained(tmp_path / "run", *patient)
    assert len(epoch_lines(run)) == 2

    with pytest.raises(
        UserError,
        match=r"early stopping ended it after epoch 2: accuracy did not improve for "
        r"1 epoch, and training\.early_stopping_patience is 1; give one of more than 1, or 0",
    ):
        trained(run, *patient, "training.epochs=12")  # fmt: skip
    _, messages = trained(run, *patient, "training.early_stopping_patience=3")

    change = "from epoch 3, step 1: training.early_stopping_patience was 1, is 3"
    assert f"{run}: {change}" in messages
    assert read_run_manifest(run).changes == [change]
    assert [line["best"] for line in epoch_lines(run)] == [True, False, False, False]


def test_fewer_epochs_of_a_stopped_training(trained: Trained, tmp_path: Path, stop_at: StopAt) -> None:
    """An epoch that is begun must be finished; those after it may be left out."""
    run, _ = trained(tmp_path / "run", "training.epochs=9", **stop_at(epoch=2, step=2))

    with pytest.raises(UserError, match=r"training\.epochs was 9, is 1, and 2 epochs are begun"):
        trained(run, "training.epochs=1")
    trained(run, "training.epochs=2")

    assert len(epoch_lines(run)) == 2
    assert open_run(run).config.training.epochs == 2


def test_what_may_change_is_documented() -> None:
    """The table of the documentation is that of the program."""
    text = (Path(__file__).parents[3] / "docs/resuming.md").read_text()

    for key, effect in FREE_ON_RESUME.items():
        assert f"| `{key}` | {effect} |" in text


def test_the_command(command: Command, two: dict[str, Path], reviews: Path, tmp_path: Path) -> None:
    """`--resume` with more epochs, as it is typed."""
    run = shutil.copytree(two["constant"], tmp_path / "run")
    words = ["train", "classification", reviews, "--run", run, "--resume", "--config", run / "config.toml"]

    result = command(*words, *overrides("training.epochs=3"))

    assert result.exit_code == 0
    assert "training.epochs was 2, is 3" in result.stderr
    assert len(epoch_lines(run)) == 3
