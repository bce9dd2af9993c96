"""Comparison of two configurations, for resuming a training."""

from __future__ import annotations

import functools
from typing import Any

from app.config.keys import keys_of
from app.config.sections import TaskConfig

FREE_ON_RESUME = {"data.directory", "training.steps_per_checkpoint"}
"""Keys that do not change what a training computes."""


def value_of(config: TaskConfig, path: str) -> Any:
    """Return the value of a key."""
    return functools.reduce(getattr, path.split("."), config)


def differences(before: TaskConfig, after: TaskConfig) -> list[str]:
    """Return the keys that affect training and differ, e.g. `model.units was 64, is 32`."""
    if before.task != after.task:
        return [f"task was {before.task!r}, is {after.task!r}"]
    found = []
    for path in keys_of(type(after)).keys() - FREE_ON_RESUME:
        old, new = value_of(before, path), value_of(after, path)
        if old != new:
            found.append(f"{path} was {old!r}, is {new!r}")
    return sorted(found)
