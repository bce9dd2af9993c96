"""Structured logs: one JSON object a line, without request texts unless they are enabled."""

from __future__ import annotations

import random
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from app.terminal.printable import json_line


class Log:
    """Writes events.

    Args:
        stream: None: stderr.
        texts: whether request texts may be logged.
    """

    def __init__(self, stream: TextIO | None = None, *, texts: bool = False) -> None:
        self.texts = texts
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: str, **facts: Any) -> None:
        """Write one line: time, event and further values."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json_line({"time": time, "event": event, **facts}, default=str)
        with self._lock:
            print(line, file=self._stream or sys.stderr, flush=True)


def request_id() -> str:
    """Return a new id for a request without one: 32 hexadecimal digits. It is no secret."""
    return f"{random.getrandbits(128):032x}"
