"""Progress on stderr: a live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from app.training.state import Progress as TrainingProgress


def _number(name: str, value: float) -> str:
    if name == "learning_rate":
        return f"{value:.2e}"
    if name.endswith("_per_second"):
        return f"{value:,.0f}"
    return f"{value:.1%}" if name.endswith("share") else f"{value:.4f}"


SHOWN = {
    "loss": "loss",
    "accuracy": "accuracy",
    "validation_loss": "val loss",
    "validation_accuracy": "val accuracy",
    "validation_macro_f1": "val macro F1",
    "gradient_norm": "gradient norm",
    "clipped_share": "clipped",
    "examples_per_second": "examples/s",
}
"""Which figures of a record are printed, under which name."""


def summary(record: dict[str, Any]) -> str:
    """The line of an epoch: `loss 0.4123  accuracy 0.8101  …`."""
    return "  ".join(f"{SHOWN[k]} {_number(k, v)}" for k, v in record.items() if k in SHOWN)


class TrainingDisplay:
    """Shows a training's course; a `Watcher` of `app.training.fit`."""

    def __init__(self, epochs: int, stream: TextIO | None = None) -> None:
        """Prepares the display; nothing is shown before the first step."""
        self.epochs = epochs
        self.console = Console(file=stream or sys.stderr, soft_wrap=True, highlight=False, markup=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def step(self, progress: TrainingProgress, steps: int, figures: dict[str, float]) -> None:
        """Moves the bar."""
        if not self.console.is_terminal:
            return
        text = f"epoch {progress.epoch + 1}/{self.epochs}"
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=8),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(text, total=steps, figures="")
        assert self._task is not None
        self._bar.update(self._task, completed=progress.step, figures=summary(figures))

    def epoch(self, record: dict[str, Any]) -> None:
        """Prints the line of an epoch."""
        self.close()
        self.console.print(f"epoch {record['epoch']}/{self.epochs}  {summary(record)}")

    def say(self, message: str) -> None:
        """Prints a line."""
        self.close()
        self.console.print(message)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Any]:
    """A function `advance(n)` that moves a bar on stderr; shows nothing where stderr is no terminal."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda n: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda n: progress.advance(task, n)
