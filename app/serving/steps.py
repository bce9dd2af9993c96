"""Calls of `begin` and `resume` for streamed texts: rows of several streams share calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from app.serving.batching import Batcher
from app.tasks.generation.sampling import Arrays, ModelCall

WIDTH = 32
"""Ids are padded to a multiple of it, so that texts of similar length share calls."""

STEPS = ("begin", "resume")
"""Signatures by which a text is streamed."""


class Steps:
    """Runs the calls of streamed texts.

    Rows share a call if their `ids` have the same width. `resume` of earlier versions has no input `emitted`
    and takes no padding, and the state that it returns is that after the longest row: there, texts of the
    same length share calls, if the same number of tokens is sampled.

    Args:
        batcher: returns the batcher of one of `STEPS`; its calls get rows of streams only.
    """

    def __init__(self, batcher: Callable[[str], Batcher]) -> None:
        self._batchers: Mapping[str, Batcher] = {name: batcher(name) for name in STEPS}

    async def __call__(self, call: ModelCall, deadline: float) -> Arrays:
        """Run a call of one row.

        Args:
            call: of a signature of `STEPS`.
            deadline: on the clock `time.monotonic()`.

        Raises:
            Refused: the queue is full, the deadline has passed, the call failed, or the server is stopping.
        """
        inputs = _padded(call.inputs)
        width = inputs["ids"].shape[1] if "ids" in inputs else 0
        cost = np.array([len(inputs["prompt"][0]) + 2 + width])
        kind = width, 0 if "emitted" in inputs or "length" not in inputs else int(inputs["length"][0])
        return await self._batchers[call.signature].submit(inputs, cost, kind=kind).wait(deadline)

    @property
    def waiting(self) -> int:
        """Rows that are queued or running."""
        return sum(batcher.queue.rows for batcher in self._batchers.values())

    def close(self) -> None:
        """Cancel queued and running calls."""
        for batcher in self._batchers.values():
            batcher.close()


def _padded(inputs: Arrays) -> Arrays:
    """Return inputs whose ids are padded on the left, if the model knows padding."""
    if "emitted" not in inputs or "ids" not in inputs:
        return inputs
    padding = -inputs["ids"].shape[1] % WIDTH
    return inputs | {"ids": np.pad(inputs["ids"], ((0, 0), (padding, 0)))}
