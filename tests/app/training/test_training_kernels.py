"""The kernels of a training: which run, what is said and recorded, and what a resumed training does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained import PLAIN, epoch_lines

from app.artifacts.run import read_run_manifest
from app.config import TaskConfig
from app.train import train
from app.training.events import Message
from app.training.kernels import COMPILING
from data.errors import UserError
from models.kernels import choice
from models.kernels.choice import Choice

Configured = Callable[..., TaskConfig]
Trained = Callable[..., tuple[Path, list[str]]]

HIDDEN = Choice("keras", "no C++ compiler", is_fallback=True)


@pytest.fixture
def trained(configured: Configured, reviews: Path) -> Trained:
    """Return a function that trains or resumes, and returns the run and the messages."""

    def run(path: Path, *chosen: str, resume: bool = False) -> tuple[Path, list[str]]:
        events: list[Any] = []
        config = configured(*PLAIN, "model.layers=1", *chosen)
        train("classification", str(reviews), config, run=path, resume=resume, watcher=events.append)
        return path, [event.text for event in events if isinstance(event, Message)]

    return run


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that hides the native kernels."""

    def hide() -> None:
        def choose(kernels: str) -> Choice:
            if kernels == "native":
                raise ValueError("the native kernels are not available: no C++ compiler")
            return HIDDEN

        monkeypatch.setattr(choice, "choose", choose)

    return hide


def test_without_native_kernels_auto_trains_with_keras_and_says_so(
    trained: Trained, hidden: Callable[[], None], tmp_path: Path
) -> None:
    """The weights are those of `training.kernels=keras`, which says nothing, and is resumed with Keras too.

    Runs of earlier versions, whose manifest has no kernels, are like that one.
    """
    run, quiet = trained(tmp_path / "run", "training.kernels=keras")
    _, resumed = trained(run, "training.epochs=2", resume=True)
    hidden()
    other, messages = trained(tmp_path / "other")

    said = [message for message in messages if message.startswith("no native")]
    assert said == ["no native kernels: no C++ compiler; Keras's layers run, which are slower"]
    assert COMPILING not in quiet + resumed
    assert [m for m in quiet + resumed if m.startswith("no native") or "kernels were" in m] == []
    assert read_run_manifest(run).kernels == read_run_manifest(other).kernels == "keras"
    assert epoch_lines(run)[0]["loss"] == pytest.approx(epoch_lines(other)[0]["loss"], rel=1e-5)


def test_native_that_cannot_run_is_refused_before_anything_is_written(
    trained: Trained, hidden: Callable[[], None], tmp_path: Path
) -> None:
    hidden()
    with pytest.raises(UserError, match=r"available: no C\+\+ compiler; set training\.kernels"):
        trained(tmp_path / "run", "training.kernels=native")
    for chosen in ("model.cell=mingru", "training.mixed_precision=true"):
        with pytest.raises(UserError, match="compute none of the layers of this model: only LSTM, GRU"):
            trained(tmp_path / "run", "training.kernels=native", chosen)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("native_kernels")
def test_native_kernels_are_recorded_and_a_change_is_said(
    trained: Trained, hidden: Callable[[], None], tmp_path: Path
) -> None:
    """Resuming on a machine without them goes on with Keras's layers, but not if it has to be exact."""
    native = choice.choose("native").name
    deterministic = "training.deterministic=true"
    exact, _ = trained(tmp_path / "exact", deterministic)
    run, _ = trained(tmp_path / "run")
    assert native.startswith("native ")
    assert read_run_manifest(run).kernels == read_run_manifest(exact).kernels == native

    _, messages = trained(exact, deterministic, "training.epochs=2", resume=True)
    assert [message for message in messages if "kernels were" in message] == []

    hidden()
    _, messages = trained(run, "training.epochs=2", resume=True)
    change = (
        f"from epoch 2, step 1: kernels were {native}, are keras: the weights will not be those of an "
        "uninterrupted training, bit for bit"
    )
    assert messages[-1] == f"{run}: {change}"
    assert read_run_manifest(run).kernels == "keras"
    assert read_run_manifest(run).changes[-1] == change

    with pytest.raises(
        UserError, match=f"cannot be resumed exactly: it was trained with {native} kernels, and"
    ):
        trained(exact, deterministic, "training.epochs=3", resume=True)
