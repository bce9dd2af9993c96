"""What a test of `app.beam` looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Done(NamedTuple):
    """What a job has left."""

    status: int
    counters: dict[str, Any]
    lines: list[str]
    """Of all shards with predictions."""
    failures: list[dict[str, Any]]
    stderr: str
    shards: list[str]
    """Names of the files."""


Job = Callable[..., Done]
