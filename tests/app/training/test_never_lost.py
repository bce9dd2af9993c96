"""What goes wrong while a run is written, and what is damaged between two trainings: nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from trained import PLAIN, epoch_lines, overrides, same, weights

from app.artifacts.lock import LOCK, locked
from app.artifacts.run import MODEL
from app.artifacts.samples import read_samples
from app.terminal.signals import stop_signals
from app.training.best_model import PREVIOUS_MODEL, restore_model, write_model
from app.training.state import STATE
from data.errors import UserError

Command = Callable[..., Result]
SETTINGS = (
    *PLAIN,
    "model.units=4",
    "model.embedding_size=4",
    "training.epochs=3",
    "training.batch_size=8",
    "training.steps_per_checkpoint=1",
    "training.learning_rate=0.05",
    "training.deterministic=true",
    "training.early_stopping_patience=0",
)


@pytest.fixture(scope="module")
def words(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command without its run directory; its caches are its own."""
    cache = tmp_path_factory.mktemp("cache")
    return [
        "train",
        "classification",
        str(reviews),
        *overrides(*SETTINGS, f"data.directory={cache}"),
    ]


@pytest.fixture(scope="module")
def whole(command: Command, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert command(*words, "--run", path).exit_code == 0
    return path


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int) -> Iterator[None]:
    """Let the sync of a file fail: the `number`-th one, from 1, of those whose name ends so."""
    real, seen = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        seen += Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith(name)
        if seen == number:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


def equal_ends(run: Path, whole: Path) -> bool:
    """Return whether two runs have the same weights and figures."""
    return same(weights(run), weights(whole)) and epoch_lines(run) == epoch_lines(whole)


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("state.npz", 2, errno.ENOSPC),
        ("state.npz", 1, errno.EROFS),
        ("model.keras", 1, errno.EIO),
        ("metrics.jsonl", 5, errno.ENOSPC),
    ],
    ids=["state", "first state", "weights", "metrics"],
)
def test_a_write_fails(
    command: Command,
    words: list[str],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    code: int,
) -> None:
    """The message says what failed and where training continues; there it does, to the same end."""
    run = tmp_path / "run"
    with failing(monkeypatch, name, number, code):
        result = command(*words, "--run", run)

    assert result.exit_code == 1
    *_, message = result.stderr.splitlines()
    assert message.startswith(f"Error: {run}: cannot be written: {os.strerror(code)}; training has stopped; ")
    assert not list(run.rglob(".textrnn-partial-*"))
    resumed = command(*words, "--run", run, "--resume")
    assert resumed.exit_code == 0
    if "continues at" in message:
        assert message.partition("continues ")[2] in resumed.stderr
    assert equal_ends(run, whole)


@pytest.fixture
def stopped(command: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run that stopped in its third epoch."""
    run = tmp_path / "run"
    steps = len(epoch_steps(command, words, tmp_path))
    with failing(monkeypatch, "state.npz", 2 * steps + 3, errno.ENOSPC):
        assert command(*words, "--run", run).exit_code == 1
    return run


def epoch_steps(command: Command, words: list[str], folder: Path) -> list[str]:
    """Return the lines of metrics.jsonl of one epoch."""
    run = folder / "one"
    assert command(*words, "--run", run, *overrides("training.epochs=1")).exit_code == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(run)
    return lines


def test_the_weights_of_a_lost_epoch(command: Command, words: list[str], stopped: Path, whole: Path) -> None:
    """Weights that the last state does not know, of an epoch that is trained again, do no harm."""
    shutil.copy(stopped / MODEL, stopped / PREVIOUS_MODEL)
    (stopped / MODEL).unlink()
    (stopped / MODEL).write_bytes(b"weights of a later epoch")

    assert command(*words, "--run", stopped, "--resume").exit_code == 0

    assert equal_ends(stopped, whole)


def test_damaged_best_weights(command: Command, words: list[str], stopped: Path) -> None:
    """If the weights of the best epoch are lost, a message says so, and the best of the others are kept."""
    (stopped / PREVIOUS_MODEL).unlink(missing_ok=True)
    (stopped / MODEL).unlink()
    best = max(line["epoch"] for line in epoch_lines(stopped) if line["best"])

    result = command(*words, "--run", stopped, "--resume")

    assert result.exit_code == 0
    lost = f"{stopped / MODEL}: is damaged or missing: the weights of the best epoch, {best}, are lost; "
    assert f"{lost}the best epoch from here on is kept" in result.stderr
    assert "done; best epoch on the validation split: epoch 3" in result.stderr
    assert weights(stopped)


def test_damaged_best_weights_at_the_end(
    command: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no epoch is left that could replace them, the message says what can be done, and that works."""
    run = tmp_path / "run"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("app.training.recorder.complete_run", interrupt)
        assert command(*words, "--run", run).exit_code == 130
    (run / MODEL).unlink()

    refused = command(*words, "--run", run, "--resume")
    more = command(*words, "--run", run, "--resume", *overrides("training.epochs=4"))

    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1].endswith(
        " are lost; restore the file, give a larger training.epochs, or train a new run"
    )
    assert more.exit_code == 0
    assert weights(run)


def test_the_weights_that_belong_to_a_state(tmp_path: Path) -> None:
    """The last two files can be told apart by their digests; nothing else passes for one of them."""
    (tmp_path / "checkpoints").mkdir()
    first, second = (
        write_model(tmp_path, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
        for text in ("first", "second")
    )

    assert restore_model(tmp_path, second)
    assert (tmp_path / MODEL).read_text() == "second"
    assert restore_model(tmp_path, first)
    assert (tmp_path / MODEL).read_text() == "first"
    assert not restore_model(tmp_path, second)
    assert restore_model(tmp_path, "")


def test_two_trainings_of_a_run(command: Command, words: list[str], stopped: Path, whole: Path) -> None:
    """The second one says who trains the run, and changes nothing; afterwards it can go on."""
    state = (stopped / STATE).read_bytes()
    with locked(stopped):
        refused = command(*words, "--run", stopped, "--resume")

    assert refused.exit_code == 1
    *_, message = refused.stderr.splitlines()
    assert message.startswith(f"Error: {stopped}: process {os.getpid()} on ")
    assert message.endswith(
        " is training it; wait until it ends, or stop it and run the command again with --resume"
    )
    assert (stopped / STATE).read_bytes() == state
    (stopped / LOCK).write_text("process 1 on nowhere")  # it was killed
    assert command(*words, "--run", stopped, "--resume").exit_code == 0
    assert equal_ends(stopped, whole)
    assert not (stopped / LOCK).exists()


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    """After its end the lock can be taken again."""
    for _ in range(2):
        with locked(tmp_path), pytest.raises(UserError, match="is training it"), locked(tmp_path):
            pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a run is trained without one."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass


def test_signals() -> None:
    """Until the training asks, a signal interrupts at once; then the second one does."""
    with stop_signals() as should_stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_sample_of_an_interrupted_epoch(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed between an epoch and its sample writes the sample when it goes on."""
    text = tmp_path / "text.txt"
    text.write_text("".join(f"to be {i} or not to be\n" for i in range(60)))
    settings = ("model.units=4", "model.embedding_size=4", "training.epochs=2", "training.deterministic=true")
    words: list[Any] = ["train", "generation", text, *overrides(*settings), "--run", tmp_path / "run"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("app.training.session.keep_sample", interrupt)
        assert command(*words).exit_code == 130
    assert command(*words, "--resume").exit_code == 0

    assert list(read_samples(tmp_path / "run")) == [1, 2]
