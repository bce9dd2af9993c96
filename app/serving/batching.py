"""Rows of several requests in one call of the model, by TensorFlow's own batcher; bounded, with deadlines.

Requests that wait in Python go to the batcher together: a thread for each would wait for the interpreter's
lock more than for the model, and the batcher would see few of them at a time.

The batcher is the kernel behind `tf.nondifferentiable_batch_function`. That decorator gives every function
the same name, and the kernel finds its queue by name: a request to one model would be answered by another.
So the op is called here with names of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

# The only way to stop a call that nobody waits for any more; TensorFlow Serving does the same in C++.
from tensorflow.python.eager.cancellation import CancellationManager

from app.serving.errors import Code, Refused
from app.serving.options import Batching
from data.batching import in_order

Arrays = dict[str, np.ndarray]
Function = Callable[..., dict[str, tf.Tensor]]
"""Takes inputs and gives outputs by name."""

LATE = "the answer was not there in time"
STOPPING = "the server is stopping"
_TRACE = ("Graph execution error", "Detected at node", "File ", "<stack traces", "[[{{", "node ")
_queue_numbers = itertools.count()
_ERRORS = {
    tf.errors.INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
    tf.errors.OUT_OF_RANGE: Code.INVALID_ARGUMENT,
    tf.errors.RESOURCE_EXHAUSTED: Code.RESOURCE_EXHAUSTED,
}


class Queue:
    """Threads that make calls, and a bound on what may wait for them.

    Args:
        workers: threads, started when they are needed.
        limit: rows that are accepted and not answered, from which on all else is refused.
    """

    def __init__(self, workers: int, limit: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="signature")
        self._limit = limit
        self._lock = threading.Lock()
        self.rows = 0
        """Accepted and not yet answered."""

    def submit(self, calls: Sequence[tuple[int, Callable[[], Arrays]]]) -> list[Future[Arrays]]:
        """Makes calls, each with the number of its rows, as soon as there are threads for them.

        Raises:
            Refused: too many rows wait already.
        """
        with self._lock:
            # The rows of the request do not count: the largest one gets in as easily as the smallest.
            if self.rows >= self._limit:
                raise Refused(Code.RESOURCE_EXHAUSTED, f"{self.rows} rows are waiting; try again later")
            self.rows += sum(rows for rows, _ in calls)
        futures = []
        for rows, call in calls:
            try:
                future = self._executor.submit(call)
            except RuntimeError:  # closed meanwhile
                raise Refused(Code.UNAVAILABLE, STOPPING) from None
            future.add_done_callback(partial(self._leave, rows))
            futures.append(future)
        return futures

    def _leave(self, rows: int, _: Future[Arrays]) -> None:
        with self._lock:
            self.rows -= rows

    def close(self) -> None:
        """Ends the threads; what is queued is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Pending:
    """A request on its way."""

    futures: Sequence[Future[Arrays]]
    join: Callable[[list[Arrays]], Arrays]
    """Makes one answer of those of the calls."""
    stop: Callable[[], None]
    """Ends calls that are running, as far as that is possible."""

    def result(self, deadline: float) -> Arrays:
        """Waits for the answer in this thread, until `deadline` on the clock `time.monotonic()`.

        Raises:
            Refused: the time is up, the model cannot answer, or the server ends.
        """
        try:
            answers = [future.result(max(deadline - time.monotonic(), 0)) for future in self.futures]
        except TimeoutError:
            self._give_up()
            raise Refused(Code.DEADLINE_EXCEEDED, LATE) from None
        except CancelledError:
            raise Refused(Code.UNAVAILABLE, STOPPING) from None
        return self.join(answers)

    async def wait(self, deadline: float) -> Arrays:
        """Waits as `result`, without a thread. Who is cancelled while he waits gives the request up."""
        whole = asyncio.gather(*(asyncio.wrap_future(future) for future in self.futures))
        try:
            answers = await asyncio.wait_for(whole, max(deadline - time.monotonic(), 0))
        except TimeoutError:
            self._give_up()
            raise Refused(Code.DEADLINE_EXCEEDED, LATE) from None
        except asyncio.CancelledError:
            self._give_up()
            if any(future.cancelled() for future in self.futures) and not _being_cancelled():
                raise Refused(Code.UNAVAILABLE, STOPPING) from None
            raise
        return self.join(answers)

    def _give_up(self) -> None:
        for future in self.futures:
            future.cancel()  # what is still queued never runs
        self.stop()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def refusal(error: tf.errors.OpError) -> Refused:
    """What a client is told of an error in the graph."""
    if error.error_code == tf.errors.CANCELLED:
        return Refused(Code.UNAVAILABLE, STOPPING)
    code = _ERRORS.get(error.error_code, Code.INTERNAL)
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    cause = next((line for line in lines if not line.startswith(_TRACE)), "no cause was given")
    return Refused(code, cause.partition(" [[{{")[0])


def _called(function: Function, inputs: Arrays) -> Arrays:
    try:
        outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}
    except tf.errors.OpError as error:
        raise refusal(error) from None


class Direct:
    """Answers each request in a call of its own, which ends when nobody waits for it any more."""

    def __init__(self, function: Function, batching: Batching) -> None:
        self._function = function
        self._running: set[CancellationManager] = set()
        self.queue = Queue(batching.direct_calls, batching.max_queue)

    def submit(self, inputs: Arrays, rows: int) -> Pending:
        """Begins to answer a request.

        Raises:
            Refused: too many rows wait already.
        """
        manager = CancellationManager()
        cancelable = manager.get_cancelable_function(partial(_called, self._function))

        def call() -> Arrays:
            self._running.add(manager)
            try:
                answer: Arrays = cancelable(inputs)
                return answer
            finally:
                self._running.discard(manager)

        return Pending(self.queue.submit([(rows, call)]), lambda answers: answers[0], manager.start_cancel)

    def close(self) -> None:
        """Drops what is queued, stops what is running."""
        self.queue.close()
        for manager in list(self._running):
            manager.start_cancel()


@dataclass(frozen=True)
class _Part:
    """Rows of a request that are not parted."""

    rows: Arrays
    size: int
    future: Future[Arrays]


class Waiting:
    """Parts of requests that nobody computes yet, in lanes, and a bound on them."""

    def __init__(self, lanes: int, *, most: int, limit: int) -> None:
        """Opens it.

        Args:
            lanes: how many; parts of different ones are not taken together.
            most: rows that are taken at a time.
            limit: rows that are accepted and not answered, from which on all else is refused.
        """
        self._lanes: list[deque[tuple[int, _Part]]] = [deque() for _ in range(lanes)]
        self._numbers = itertools.count()
        self._most = most
        self._limit = limit
        self._changed = threading.Condition()
        self._closed = False
        self.rows = 0
        """Accepted and not yet answered."""

    def put(self, parts: Sequence[tuple[int, _Part]]) -> None:
        """Accepts the parts of a request, each for its lane.

        Raises:
            Refused: too many rows wait already, or the server ends.
        """
        with self._changed:
            if self._closed:
                raise Refused(Code.UNAVAILABLE, STOPPING)
            # The rows of the request do not count: the largest one gets in as easily as the smallest.
            if self.rows >= self._limit:
                raise Refused(Code.RESOURCE_EXHAUSTED, f"{self.rows} rows are waiting; try again later")
            for lane, part in parts:
                self.rows += part.size
                self._lanes[lane].append((next(self._numbers), part))
            self._changed.notify(len(parts))
        for _, part in parts:
            part.future.add_done_callback(partial(self._leave, part.size))

    def take(self) -> tuple[int, list[_Part]]:
        """Waits for parts; takes the one that has waited longest and all behind it that there is room for.

        Returns:
            the lane and the parts; no parts when it is closed.
        """
        with self._changed:
            while not self._closed:
                heads = [(waiting[0][0], lane) for lane, waiting in enumerate(self._lanes) if waiting]
                if not heads:
                    self._changed.wait()
                    continue
                _, lane = min(heads)
                waiting, found, room = self._lanes[lane], list[_Part](), self._most
                while waiting and waiting[0][1].size <= room:
                    _, part = waiting.popleft()
                    if part.future.set_running_or_notify_cancel():  # else its client has gone
                        found.append(part)
                        room -= part.size
                if found:
                    return lane, found
            return 0, []

    def _leave(self, rows: int, _: Future[Arrays]) -> None:
        with self._changed:
            self.rows -= rows

    def close(self) -> None:
        """Drops what waits."""
        with self._changed:
            self._closed = True
            dropped = [part for waiting in self._lanes for _, part in waiting]
            for waiting in self._lanes:
                waiting.clear()
            self._changed.notify_all()
        for part in dropped:
            part.future.cancel()


class Batcher:
    """Answers rows, those of several requests in one call.

    Args:
        function: every input has one value for each row, and each answer depends on its own row alone.
        inputs: dtype and shape of each by name, the first dimension open.
        outputs: likewise.
        scheduler: name; batchers of one name share threads, and must have equal `batching`.
        batching: options.
        observe: is told the rows of each call.
    """

    def __init__(
        self,
        function: Function,
        inputs: Mapping[str, tf.TensorSpec],
        outputs: Mapping[str, tf.TensorSpec],
        *,
        scheduler: str,
        batching: Batching,
        observe: Callable[[int], None],
    ) -> None:
        self._function = function
        self._names = list(inputs)
        self._outputs = list(outputs)
        self._open = [n for n, spec in outputs.items() if spec.shape.rank > 1 and spec.shape[1] is None]
        self._batching = batching
        self._observe = observe
        self._manager = CancellationManager()
        lanes = len(batching.boundaries) + 1
        self.queue = Waiting(lanes, most=batching.max_batch_size, limit=batching.max_queue)
        specs = list(inputs.values())
        body = self._body(specs)
        self._lanes = [
            self._manager.get_cancelable_function(_batched(body, specs, scheduler, batching))
            for _ in range(lanes)
        ]
        for _ in range(batching.threads):
            threading.Thread(target=self._work, name="batches", daemon=True).start()

    def _body(self, specs: list[tf.TensorSpec]) -> Any:
        """The function of the rows of a batch; its last output has the batch's size in the first row."""

        def body(*rows: tf.Tensor) -> list[tf.Tensor]:
            outputs = self._function(**dict(zip(self._names, rows, strict=True)))
            size = tf.shape(rows[0])[0]
            return [*(outputs[name] for name in self._outputs), size * tf.one_hot(0, size, dtype=tf.int32)]

        return tf.function(body, input_signature=specs, autograph=False).get_concrete_function()

    def warm(self, inputs: Arrays) -> None:
        """Calls each lane once: the first call of a graph prepares it, and would do so in every thread.

        Raises:
            Refused: the model cannot answer.
        """
        rows = [tf.constant(inputs[name][: self._batching.max_batch_size]) for name in self._names]
        try:
            for lane in self._lanes:
                lane(*rows)
        except tf.errors.OpError as error:
            raise refusal(error) from None

    def submit(self, inputs: Arrays, costs: np.ndarray) -> Pending:
        """Begins to answer the rows of a request.

        Args:
            inputs: arrays with as many rows, at least one.
            costs: int [rows], what a row costs; rows of like cost share calls.

        Returns:
            for each output an array with a row for each row, as wide as if the rows had been alone.

        Raises:
            Refused: too many rows wait already.
        """
        order = np.argsort(costs, kind="stable")
        size = self._batching.max_batch_size
        parts: list[tuple[int, _Part]] = []
        for start in range(0, len(order), size):
            own = order[start : start + size]
            lane = int(np.searchsorted(self._batching.boundaries, costs[own[-1]]))
            rows = {name: value[own] for name, value in inputs.items()}
            parts.append((lane, _Part(rows, len(own), Future())))
        self.queue.put(parts)
        return Pending([part.future for _, part in parts], partial(_joined, order), lambda: None)

    def _work(self) -> None:
        while True:
            lane, parts = self.queue.take()
            if not parts:
                return
            try:
                self._answer(lane, parts)
            except Exception as error:  # a thread that ends would leave all others waiting
                for part in parts:
                    if not part.future.done():
                        part.future.set_exception(error)

    def _answer(self, lane: int, parts: list[_Part]) -> None:
        whole = [np.concatenate([part.rows[name] for part in parts]) for name in self._names]
        try:
            *found, sizes = self._lanes[lane](*map(tf.constant, whole))
        except tf.errors.CancelledError as error:
            for part in parts:
                part.future.set_exception(refusal(error))
            return
        except tf.errors.OpError:
            for part in parts:  # the rows of another request may be to blame
                self._answer_alone(part)
            return
        if size := int(sizes.numpy().max()):
            self._observe(size)
        outputs = {name: value.numpy() for name, value in zip(self._outputs, found, strict=True)}
        start = 0
        for part in parts:
            own = {name: value[start : start + part.size] for name, value in outputs.items()}
            part.future.set_result(self._cut(own))
            start += part.size

    def _answer_alone(self, part: _Part) -> None:
        try:
            part.future.set_result(self._cut(_called(self._function, part.rows)))
        except Refused as error:
            part.future.set_exception(error)

    def _cut(self, outputs: Arrays) -> Arrays:
        """Outputs [rows, T, …] as wide as the longest row, where an output `length` says how long each is.

        A batch is as wide as the longest row of all requests. One without any token has the width 1.
        """
        if "length" not in outputs:
            return outputs
        width = max(int(outputs["length"].max()), 1)
        return outputs | {name: outputs[name][:, :width] for name in self._open}

    def close(self) -> None:
        """Drops what is queued, stops what is running."""
        self.queue.close()
        self._manager.start_cancel()


def _batched(body: Any, specs: list[tf.TensorSpec], scheduler: str, batching: Batching) -> Any:
    """A function whose concurrent calls become one call of `body`."""
    number = next(_queue_numbers)

    def shared(*rows: tf.Tensor) -> Any:
        return tf.raw_ops.BatchFunction(
            in_tensors=list(rows),
            captured_tensors=body.captured_inputs,
            f=body,
            num_batch_threads=batching.threads,
            max_batch_size=batching.max_batch_size,
            batch_timeout_micros=round(batching.timeout * 1e6),
            max_enqueued_batches=2 * batching.threads,  # never full: no more calls than threads are made
            Tout=[output.dtype for output in body.outputs],
            shared_name=scheduler,
            batching_queue=str(number),
            # The parts of a request that was split could have outputs of different widths.
            enable_large_batch_splitting=False,
        )

    return tf.function(shared, input_signature=specs, autograph=False).get_concrete_function()


def _joined(order: np.ndarray, parts: Sequence[Arrays]) -> Arrays:
    """Rows of several calls as one array, row i at place `order[i]`."""
    return {name: in_order([part[name] for part in parts], order) for name in parts[0]}
