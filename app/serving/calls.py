"""Calls of a model: requests in progress, a bounded queue, and calls of one request each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

# The only way to stop a call that nobody waits for any more; TensorFlow Serving does the same in C++.
from tensorflow.python.eager.cancellation import CancellationManager

from app.serving.errors import Code, Refused
from app.serving.options import Batching

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


class Queue:
    """Threads that run calls, and a bounded queue in front of them.

    Args:
        workers: number of threads, started on demand.
        limit: rows queued or running from which on further requests are refused.
    """

    def __init__(self, workers: int, limit: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="signature")
        self._limit = limit
        self._lock = threading.Lock()
        self.rows = 0
        """Rows that are queued or running."""

    def submit(self, calls: Sequence[tuple[int, Callable[[], Arrays]]]) -> list[Future[Arrays]]:
        """Queue calls, each with its number of rows.

        Raises:
            Refused: the queue is full.
        """
        with self._lock:
            # Rows of this request do not count, so that large requests are accepted as easily as small ones.
            if self.rows >= self._limit:
                raise Refused(
                    Code.RESOURCE_EXHAUSTED, f"the queue is full ({self.rows} rows); try again later"
                )
            self.rows += sum(rows for rows, _ in calls)
        futures = []
        for rows, call in calls:
            try:
                future = self._executor.submit(call)
            except RuntimeError:  # closed in the meantime
                raise Refused(Code.UNAVAILABLE, STOPPING) from None
            future.add_done_callback(partial(self._leave, rows))
            futures.append(future)
        return futures

    def _leave(self, rows: int, _: Future[Arrays]) -> None:
        with self._lock:
            self.rows -= rows

    def close(self) -> None:
        """Stop the threads and drop queued calls."""
        self._executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Pending:
    """A request in progress."""

    futures: Sequence[Future[Arrays]]
    join: Callable[[list[Arrays]], Arrays]
    """Joins the outputs of the calls."""
    stop: Callable[[], None]
    """Cancels running calls, as far as that is possible."""

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
        whole = asyncio.gather(*(asyncio.wrap_future(future) for future in self.futures))
        try:
            outputs = await asyncio.wait_for(whole, max(deadline - time.monotonic(), 0))
        except TimeoutError:
            self._give_up()
            raise Refused(Code.DEADLINE_EXCEEDED, LATE) from None
        except asyncio.CancelledError:
            self._give_up()
            if any(future.cancelled() for future in self.futures) and not _being_cancelled():
                raise Refused(Code.UNAVAILABLE, STOPPING) from None
            raise
        return self.join(outputs)

    def _give_up(self) -> None:
        for future in self.futures:
            future.cancel()  # calls that are still queued never run
        self.stop()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
    except tf.errors.OpError as error:
        raise refusal(error) from None


class Direct:
    """Runs each request in a separate call, which is cancelled when no client waits for it."""

    def __init__(self, function: Function, batching: Batching) -> None:
        self._function = function
        self._running: set[CancellationManager] = set()
        self.queue = Queue(batching.direct_calls, batching.max_queue)

    def submit(self, inputs: Arrays, rows: int) -> Pending:
        """Queue a request.

        Raises:
            Refused: the queue is full.
        """
        manager = CancellationManager()
        cancelable = manager.get_cancelable_function(partial(called, self._function))

        def call() -> Arrays:
            self._running.add(manager)
            try:
                outputs: Arrays = cancelable(inputs)
                return outputs
            finally:
                self._running.discard(manager)

        return Pending(self.queue.submit([(rows, call)]), lambda outputs: outputs[0], manager.start_cancel)

    def close(self) -> None:
        """Drop queued calls and cancel running ones."""
        self.queue.close()
        for manager in list(self._running):
            manager.start_cancel()
