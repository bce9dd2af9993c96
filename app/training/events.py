"""Events and result of a training."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from app.metrics import Metric
from data.errors import UserError


class DivergedError(UserError):
    """The loss of a training is not finite."""


@dataclass(frozen=True)
class Step:
    """A finished training step."""

    epoch: int
    """Number of the epoch, from 1."""
    step: int
    """Number of the step in its epoch, from 1."""
    steps: int
    """Steps of an epoch."""
    metrics: Mapping[str, float]
    """Means over the steps of this epoch: loss, accuracy, examples per second."""
    record: Mapping[str, Any] | None = None
    """Line of metrics.jsonl; None for most steps."""


@dataclass(frozen=True)
class Epoch:
    """A finished epoch, validation included."""

    number: int
    """From 1."""
    epochs: int
    """Maximum number of epochs."""
    record: Mapping[str, Any]
    """Line of metrics.jsonl: metrics of training, and of validation as `validation_NAME`."""
    best: bool
    """Whether it is the best epoch so far, so that its weights are kept."""
    metrics: tuple[Metric, ...] = ()
    """Validation metrics of the task on this data."""


@dataclass(frozen=True)
class Message:
    """A text for the user."""

    text: str


@dataclass(frozen=True)
class TrainedRun:
    """How a training ended."""

    path: Path
    """The run directory."""
    finished: bool
    """False: training was stopped, and can be resumed."""
    best: dict[str, Any]
    """Line of metrics.jsonl of the best epoch, whose weights are kept; empty before the first one."""
    follower: str = ""
    """Which of several workers it is, if it is not the chief; it has no run directory."""


Event = Step | Epoch | Message
Watcher = Callable[[Event], object]
"""Receives each event."""

T = TypeVar("T")


def watched(events: Generator[Event, None, T], watcher: Watcher) -> T:
    """Let a watcher receive all events, and return the result."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: T = end.value
            return result
        watcher(event)
