"""The tasks by name. What differs between them is in their folders; everything else is written once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from app.tasks.names import TASKS
from data.errors import UserError

if TYPE_CHECKING:
    from app.tasks.base import Task

__all__ = ["TASKS", "get_task"]


def get_task(name: str) -> Task[Any, Any]:
    """Return the task of a name in `TASKS`.

    Raises:
        UserError: there is no such task.
    """
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}; expected one of {', '.join(TASKS)}")
    task: Task[Any, Any] = importlib.import_module(TASKS[name]).TASK
    return task
