"""Packages that only some commands need."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from app.config import TaskConfig
from app.extras import extra
from app.train import train
from app.training import recorder
from app.training.events import Message
from data.errors import UserError

Configured = Callable[..., TaskConfig]


def test_a_missing_package_of_an_extra_is_one_line() -> None:
    """The error names the command, the package and the extra."""
    expected = r"inspect needs matplotlib; pip install 'textrnn\[plots\]'"

    with pytest.raises(UserError, match=expected), extra("plots", "inspect"):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.pyplot")


def test_a_missing_module_of_another_kind_is_a_defect() -> None:
    """Only packages of the extra are the user's to install."""
    with pytest.raises(ModuleNotFoundError), extra("plots", "inspect"):
        raise ModuleNotFoundError("No module named 'numpie'", name="numpie")


COMMANDS = {
    "inspect": ("inspect", "run", "a text", "--output", "inspect.svg"),
    "tune lr": ("tune", "lr", "classification", "sample:reviews", "--output", "tune lr.svg"),
    "tune": ("tune", "classification", "sample:reviews", "--budget=1s", "--run=tuned"),
    "compare": ("compare", "classification", "sample:reviews", "--vary=model.units=1,2", "--output=compared"),
}


@pytest.mark.parametrize(("name", "command_line"), COMMANDS.items(), ids=COMMANDS)
def test_commands_ask_for_matplotlib_first(
    name: str,
    command_line: tuple[str, ...],
    command: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without Matplotlib a command that draws a picture says so before its work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = command(*command_line)

    assert result.exit_code == 1
    assert result.stderr == f"Error: the picture {name}.svg needs matplotlib; pip install 'textrnn[plots]'\n"
    assert list(tmp_path.iterdir()) == []


def test_training_without_tensorboard(
    reviews: Path, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training says once that no TensorBoard logs are written, and how to get them; it works without."""
    monkeypatch.setattr(recorder, "find_spec", lambda name: None)
    config = configured("model.layers=0", f"data.directory={tmp_path / 'prepared'}")
    messages: list[str] = []

    def watcher(event: object) -> None:
        if isinstance(event, Message):
            messages.append(event.text)

    train("classification", str(reviews), config, run=tmp_path / "run", watcher=watcher)

    expected = "no TensorBoard logs are written; for these: pip install 'textrnn[tensorboard]'"
    assert [text for text in messages if "TensorBoard" in text] == [expected]
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "model.keras").exists()
