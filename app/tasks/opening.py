"""Opening DATA for a task: its source, the fields that are read of it, and what its content decides."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.config import TaskConfig
from app.tasks.base import Task
from data.formats import Field
from data.sources import CatalogueName, Source, open_source


class Opened(NamedTuple):
    """DATA whose rows are not read yet."""

    source: Source | CatalogueName
    fields: tuple[Field, ...]
    """The fields of an example."""
    config: TaskConfig
    """The configuration with what the data decides, such as how many labels an example has."""


def open_data(data: str, task: Task[Any, Any], config: TaskConfig) -> Opened:
    """Open DATA to train on it, or to check it.

    Args:
        data: as the user gives it.
        task: that the data is for.
        config: may leave to the data what the data decides.

    Raises:
        UserError: there is no such data, or its format cannot hold what the task needs.
    """
    examples = task.examples

    def opened(config: TaskConfig) -> Opened:
        fields = examples.fields(config)
        source = open_source(data, fields, examples.shapes, examples.parallel(config), config.options())
        return Opened(source, fields, config)

    first = opened(config)
    decided = examples.with_data(config, first.source)
    return first if decided == config else opened(decided)
