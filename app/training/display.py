"""The course of a training on stderr: a live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self, TextIO

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from app.metrics import ACCURACY, LOSS, Metric
from app.terminal.console import make_console
from app.training.events import Epoch, Event, Message, Step

TITLES = {
    **{metric.name: metric.title for metric in (LOSS, ACCURACY)},
    "gradient_norm": "gradient norm",
    "clipped_share": "clipped",
    "examples_per_second": "examples/s",
}
"""Title of each value of the training that is shown."""


def summary(record: Mapping[str, Any], metrics: Sequence[Metric] = ()) -> str:
    """Return the values of a record with their titles: `loss 0.4123  accuracy 0.8101  val loss 0.3910  …`.

    Args:
        record: values by name.
        metrics: validation metrics, which are shown too.
    """
    titles = TITLES | {f"validation_{metric.name}": f"val {metric.title}" for metric in metrics}
    return "  ".join(f"{titles[k]} {_number(k, v)}" for k, v in record.items() if k in titles)


def _number(name: str, value: float) -> str:
    if name.endswith("_per_second"):
        return f"{value:,.0f}"
    return f"{value:.1%}" if name.endswith("share") else f"{value:.4f}"


class TrainingDisplay:
    """A watcher that prints events."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Prepare the display; None prints to stderr."""
        self.console = make_console(stream or sys.stderr)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Print an event."""
        if isinstance(event, Step):
            self._move(event)
            return
        self.close()
        if isinstance(event, Epoch):
            self.console.print(f"epoch {event.number}/{event.epochs}  {summary(event.record, event.metrics)}")
        elif isinstance(event, Message):
            self.console.print(event.text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _move(self, event: Step) -> None:
        if not self.console.is_terminal:
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=8),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[metrics]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(f"epoch {event.epoch}", total=event.steps, metrics="")
        assert self._task is not None
        self._bar.update(self._task, completed=event.step, metrics=summary(event.metrics))
