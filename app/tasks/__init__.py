"""The tasks by name. What differs between them is in their folders; everything else is written once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from app.tasks.names import TASKS

if TYPE_CHECKING:
    from app.tasks.base import Task

__all__ = ["TASKS", "get_task"]


def get_task(name: str) -> Task[Any, Any]:
    """Return the task of a name in `TASKS`."""
    task: Task[Any, Any] = importlib.import_module(TASKS[name]).TASK
    return task
