"""Calls of a model: requests in progress, their errors, and what all running calls may cost together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from app.allocator import return_memory
from app.serving.errors import Code, Refused

Arrays = dict[str, np.ndarray]
Function = Callable[..., Mapping[str, tf.Tensor]]
"""Takes inputs and returns outputs by name."""

LATE = "the request timed out"
STOPPING = "the server is stopping"
_TRACE = ("Graph execution error", "Detected at node", "File ", "<stack traces", "[[{{", "node ")
_ERRORS = {
    tf.errors.INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
    tf.errors.OUT_OF_RANGE: Code.INVALID_ARGUMENT,
    tf.errors.RESOURCE_EXHAUSTED: Code.RESOURCE_EXHAUSTED,
}


class Budget:
    """What the calls of long rows that run at the same time may cost, of all signatures of a server."""

    def __init__(self, most: int) -> None:
        """Create it.

        Args:
            most: padded bytes. A call that costs more runs when no other does.
        """
        self.most = most
        self._lock = threading.Lock()
        self._running = 0
        self._calls = 0
        self._refused: list[Callable[[], None]] = []

    @property
    def largest_call(self) -> int:
        """Most that rows cost together which are called together; a row that costs more is called alone."""
        return self.most // 2

    def take(self, cost: int, wake: Callable[[], None]) -> bool:
        """Return whether a call may start; if not, `wake` is called once when another has ended."""
        with self._lock:
            if self._calls and self._running + cost > self.most:
                self._refused.append(wake)
                return False
            self._running += cost
            self._calls += 1
            return True

    def give_back(self, cost: int) -> None:
        """End a call."""
        with self._lock:
            self._running -= cost
            self._calls -= 1
            refused, self._refused = self._refused, []
        for wake in refused:
            wake()


@dataclass(frozen=True)
class Pending:
    """A request in progress."""

    futures: Sequence[Future[Arrays]]
    join: Callable[[list[Arrays]], Arrays]
    """Joins the outputs of the calls."""
    stop: Callable[[], None]
    """Cancels running calls that nobody else waits for."""

    def result(self, deadline: float) -> Arrays:
        """Wait for the outputs in this thread, until `deadline` on the clock `time.monotonic()`.

        Raises:
            Refused: the deadline has passed, the call failed, or the server is stopping.
        """
        try:
            outputs = [future.result(max(deadline - time.monotonic(), 0)) for future in self.futures]
        except TimeoutError:
            self._give_up()
            raise Refused(Code.DEADLINE_EXCEEDED, LATE) from None
        except CancelledError:
            raise Refused(Code.UNAVAILABLE, STOPPING) from None
        return self.join(outputs)

    async def wait(self, deadline: float) -> Arrays:
        """Wait as `result` does, without a thread. Cancelling the waiting task drops the request."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        missing = len(self.futures)

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def count(future: Future[Arrays]) -> None:
            nonlocal missing
            missing -= 1
            if not missing or future.cancelled() or future.exception():
                wake()

        def ended(future: Future[Arrays]) -> None:  # in the thread of the call
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(count, future)

        for future in self.futures:
            future.add_done_callback(ended)
        timer = loop.call_later(deadline - time.monotonic(), wake)
        try:
            await waiter
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            timer.cancel()
        try:
            outputs = [future.result() for future in self.futures if future.done()]
        except CancelledError:
            raise Refused(Code.UNAVAILABLE, STOPPING) from None
        if len(outputs) < len(self.futures):
            self._give_up()
            raise Refused(Code.DEADLINE_EXCEEDED, LATE)
        return self.join(outputs)

    def _give_up(self) -> None:
        for future in self.futures:
            future.cancel()  # calls that are still queued never run
        self.stop()


def refusal(error: tf.errors.OpError) -> Refused:
    """Return the error that a client gets for an error in the graph."""
    if error.error_code == tf.errors.CANCELLED:
        return Refused(Code.UNAVAILABLE, STOPPING)
    code = _ERRORS.get(error.error_code, Code.INTERNAL)
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    cause = next((line for line in lines if not line.startswith(_TRACE)), "unknown error in the model")
    return Refused(code, cause.partition(" [[{{")[0])


def called(function: Function, inputs: Arrays) -> Arrays:
    """Call a function of tensors with arrays.

    Raises:
        Refused: the call fails.
    """
    try:
        outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}
    except tf.errors.ResourceExhaustedError:
        raise out_of_memory() from None
    except tf.errors.OpError as error:
        raise refusal(error) from None
    except MemoryError:
        raise out_of_memory() from None


def out_of_memory() -> Refused:
    """Return the error that a client gets if memory has run out, and make room for the next request."""
    return_memory()
    return Refused(Code.RESOURCE_EXHAUSTED, "the server is out of memory; send fewer or shorter rows")
