"""How a worker that is not the chief trains: it computes, and writes nothing."""

from __future__ import annotations

from collections.abc import Generator

from app.training.events import Message
from app.training.fit import Fit


def followed(fit: Fit) -> Generator[Message, None, bool]:
    """Train to the end, or until a worker is asked to stop, in step with the chief.

    Args:
        fit: the training; the chief knows where it begins.

    Returns:
        whether the training is finished.
    """
    yield Message(f"{fit.workers.name}: training; the chief, {fit.workers.chief_name}, reports")
    stopped = any(fit.stops and not fit.state.finished for _ in fit.events())
    return not stopped
