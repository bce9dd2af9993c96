"""The tasks by name. What differs between them is in their folders; everything else is written once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.tasks.base import Task

TASKS = {
    "classification": "app.tasks.classification.task",
    "tagging": "app.tasks.tagging.task",
    "generation": "app.tasks.generation.task",
    "translation": "app.tasks.translation.task",
}
"""Module of each task, which holds `TASK`. Names only, so that help is printed without TensorFlow."""


def get_task(name: str) -> Task[Any, Any]:
    """Return the task of a name in `TASKS`."""
    task: Task[Any, Any] = importlib.import_module(TASKS[name]).TASK
    return task
