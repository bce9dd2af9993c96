"""Comparison of two configurations, for resuming a training."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from app.config.keys import keys_of
from app.config.sections import TaskConfig

EPOCHS, PATIENCE = "training.epochs", "training.early_stopping_patience"
FREE_ON_RESUME = {
    EPOCHS: "more epochs continue the training, also of a finished run; fewer only if they are not begun; "
    "the cosine schedule is spread over the new number",
    PATIENCE: "from the next epoch on; the epochs since the best one still count",
    "training.steps_per_checkpoint": "from the next step on",
    "training.kernels": "from the next step on; the weights are then not those of an uninterrupted training, "
    "bit for bit",
    "training.tracker": "the epochs so far are tracked, too",
    "training.strategy": "from the next step on, also with another number of devices or workers; the weights "
    "are then not those of an uninterrupted training, bit for bit",
    "data.directory": "another folder of prepared datasets, with the same data",
}
"""Keys that may change when a training is resumed, and what a change does."""


def value_of(config: TaskConfig, path: str) -> Any:
    """Return the value of a key."""
    return functools.reduce(getattr, path.split("."), config)


def differences(before: TaskConfig, after: TaskConfig) -> list[str]:
    """Return the keys that differ and may not, e.g. `model.units was 64, is 32`."""
    if before.task != after.task:
        return [f"task was {before.task!r}, is {after.task!r}"]
    return _changed(before, after, keys_of(type(after)).keys() - FREE_ON_RESUME.keys())


def changes_of_course(before: TaskConfig, after: TaskConfig) -> list[str]:
    """Return the keys that differ, may do so, and decide how long the training is."""
    return _changed(before, after, {EPOCHS, PATIENCE})


def changed_keys(before: TaskConfig, after: TaskConfig, *, without: Iterable[str]) -> list[str]:
    """Return the keys that differ between two configurations of a task, e.g. `model.units was 64, is 32`.

    Args:
        before: a configuration.
        after: another one.
        without: keys that may differ.
    """
    return _changed(before, after, keys_of(type(after)).keys() - {*without})


def _changed(before: TaskConfig, after: TaskConfig, paths: set[str]) -> list[str]:
    values = {path: (value_of(before, path), value_of(after, path)) for path in sorted(paths)}
    return [f"{path} was {old!r}, is {new!r}" for path, (old, new) in values.items() if old != new]
