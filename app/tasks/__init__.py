"""The tasks, by name: what differs between them stands in their modules, everything else is written once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.tasks.base import Task

TASKS = {
    "classification": "app.tasks.classification.task",
    "tagging": "app.tasks.tagging.task",
    "generation": "app.tasks.generation.task",
    "translation": "app.tasks.translation.task",
}
"""Module of each task; it holds `TASK`. Names only, so that help is printed without TensorFlow."""


def get_task(name: str) -> Task:
    """The task of a name in `TASKS`."""
    task: Task = importlib.import_module(TASKS[name]).TASK
    return task
