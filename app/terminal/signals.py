"""Signals that ask the process to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM has arrived.

    A second signal interrupts at once. So does one before the first call of the function: there is nothing to
    save yet. The main thread alone can use it.
    """
    received: list[int] = []
    asked = False

    def note(number: int, _: FrameType | None) -> None:
        if received or not asked:
            raise KeyboardInterrupt
        received.append(number)

    def should_stop() -> bool:
        nonlocal asked
        asked = True
        return bool(received)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield should_stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
