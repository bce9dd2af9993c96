"""Tiny models of all tasks, and an application asked without a server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Answer, asked
from tiny_exports import ROWS, write_exports

from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.repository import Repository


@pytest.fixture(scope="session")
def ask() -> Callable[..., Answer | None]:
    """Return `asked` for those who don't wait."""

    def blocking(*arguments: Any, **options: Any) -> Answer | None:
        return asyncio.run(asked(*arguments, **options))

    return blocking


@pytest.fixture(scope="session")
def tiny(once: Callable[[str, Callable[[Path], object]], Path]) -> Iterator[Repository]:
    """Return a tiny model of each task, under the task's name, loaded."""
    exports = once("tiny", write_exports) / "exports"
    models = {task: exports / task for task in ROWS}
    repository = Repository(models, metrics=Metrics(), log=Log(io.StringIO()))
    repository.poll()
    assert repository.ready
    yield repository
    repository.stop()
