"""Dynamic batching: rows of several requests in one call of the model, bounded in rows and in padded size.

A call costs rows × longest row, because each row is padded to the longest one. The rows of a request are
sorted and divided into parts by what they cost. Parts wait in lanes by the size of their longest row; a call
takes parts of one lane. Calls of long rows start within the `Budget` of the server. A call of short rows
never waits for it.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import tensorflow as tf

# The only way to stop a call that nobody waits for any more; TensorFlow Serving does the same in C++.
from tensorflow.python.eager.cancellation import CancellationManager

from app.serving.calls import STOPPING, Arrays, Budget, Function, Pending, called
from app.serving.errors import Code, Refused
from app.serving.options import Batching
from data.batching import in_order, sorted_batches

SHORT = 0
"""The lane of the shortest rows."""


@dataclass(eq=False)
class _Part:
    """Rows of a request that stay in one call."""

    rows: Arrays
    size: int
    longest: int
    """Cost of the longest row."""
    future: Future[Arrays]
    arrived: float
    """On the clock `time.monotonic()`."""
    kind: Hashable = None
    """Only parts of equal kind share a call."""
    number: int = 0
    """Its place in the order of arrival."""
    abandoned: bool = False
    """Whether its client has gone."""


@dataclass(eq=False)
class _Call:
    """Parts that run together."""

    lane: int
    parts: list[_Part]
    cost: int
    """Padded size."""
    manager: CancellationManager = field(default_factory=CancellationManager)


class Waiting:
    """A bounded queue of parts of requests, in lanes that never share a call."""

    def __init__(self, batching: Batching, budget: Budget, *, threads: int, shared_calls: bool) -> None:
        """Create an empty queue.

        Args:
            batching: lanes, and what a call may have.
            budget: of all calls of long rows.
            threads: calls that run at the same time, see `Batching.threads`.
            shared_calls: whether parts of several requests may be taken together.
        """
        self._lanes: list[deque[_Part]] = [deque() for _ in range(len(batching.boundaries) + 1)]
        self._numbers = itertools.count()
        self._batching = batching
        self._budget = budget
        self._threads = threads
        self._shared_calls = shared_calls
        self._running: list[_Call] = []
        self._changed = threading.Condition()
        self._closed = False
        self.rows = 0
        """Rows that are queued or running."""
        self.bytes = 0
        """Sum of their sizes, without padding."""

    def put(self, parts: Sequence[_Part], sizes: Sequence[int]) -> None:
        """Queue the parts of a request, each with the sum of its rows' sizes.

        Raises:
            Refused: the queue is full, or the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise Refused(Code.UNAVAILABLE, STOPPING)
            # Rows of this request do not count, so that large requests are accepted as easily as small ones.
            if self.rows >= self._batching.max_queue:
                raise _full(f"{self.rows} rows")
            if self.bytes >= self._batching.max_queue_bytes:
                raise _full(f"{self.bytes} bytes")
            for part, size in zip(parts, sizes, strict=True):
                self.rows += part.size
                self.bytes += size
                part.number = next(self._numbers)
                self._lanes[bisect_left(self._batching.boundaries, part.longest)].append(part)
            if self._in_turn():  # else a thread would wake for nothing with each request
                self._changed.notify(len(parts))
        for part, size in zip(parts, sizes, strict=True):
            part.future.add_done_callback(partial(self._leave, part.size, size))

    def take(self) -> _Call | None:
        """Wait for parts that may run now; take the oldest one and those after it in its lane that fit.

        Returns:
            the call, which ends with `end`; None once the queue is closed.
        """
        with self._changed:
            while not self._closed:
                patience: list[float] = []
                is_spent = False
                for lane in self._in_turn():
                    if is_spent and lane != SHORT:
                        continue  # younger long rows that fit must not overtake older ones for ever
                    found = self._fitting(lane)
                    seconds = self._patience(found)
                    if seconds > 0:
                        patience.append(seconds)
                    elif call := self._started(lane, found):
                        if self._in_turn():
                            self._changed.notify()
                        return call
                    else:
                        is_spent = True
                self._changed.wait(min(patience, default=None))
            return None

    def _in_turn(self) -> list[int]:
        """Return the lanes of which a call may run now, the one with the oldest part first."""
        for waiting in self._lanes:
            while waiting and waiting[0].future.cancelled():
                waiting.popleft()
        if len(self._running) < self._threads:
            heads = sorted((waiting[0].number, lane) for lane, waiting in enumerate(self._lanes) if waiting)
            return [lane for _, lane in heads]
        is_blocked = not self._lanes[SHORT] or any(call.lane == SHORT for call in self._running)
        return [] if is_blocked else [SHORT]

    def _fitting(self, lane: int) -> list[_Part]:
        """Return the first parts of a lane that fit into one call, all of the kind of the first one."""
        found: list[_Part] = []
        rows, longest, largest = 0, 0, self._budget.largest_call
        for part in self._lanes[lane]:
            if found and part.kind != found[0].kind:
                continue
            rows, longest = rows + part.size, max(longest, part.longest)
            fits = rows <= self._batching.max_batch_size and rows * longest <= largest
            if found and not (fits and self._shared_calls):
                break
            found.append(part)
        return found

    def _patience(self, parts: Sequence[_Part]) -> float:
        """Return for how many seconds a call waits for further rows."""
        is_full = sum(part.size for part in parts) >= self._batching.max_batch_size
        if is_full or not self._shared_calls or not self._batching.timeout:
            return 0
        return parts[0].arrived + self._batching.timeout - time.monotonic()

    def _started(self, lane: int, parts: list[_Part]) -> _Call | None:
        """Start a call; return None if it must wait for others to end."""
        cost = sum(part.size for part in parts) * max(part.longest for part in parts)
        if lane != SHORT and not self._budget.take(cost, self._wake):
            return None
        for part in parts:
            self._lanes[lane].remove(part)  # nearly always the first one
        # A client may have gone in the meantime.
        call = _Call(lane, [part for part in parts if part.future.set_running_or_notify_cancel()], cost)
        self._running.append(call)
        return call

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def end(self, call: _Call) -> None:
        """Let further calls start."""
        with self._changed:
            self._running.remove(call)  # the thread that ends a call takes the next one
        if call.lane != SHORT:
            self._budget.give_back(call.cost)

    def abandon(self, parts: Sequence[_Part]) -> None:
        """Cancel the running calls that nobody waits for any more."""
        with self._changed:
            for part in parts:
                part.abandoned = True
            calls = [call for call in self._running if all(part.abandoned for part in call.parts)]
        for call in calls:
            call.manager.start_cancel()

    def _leave(self, rows: int, size: int, _: Future[Arrays]) -> None:
        with self._changed:
            self.rows -= rows
            self.bytes -= size

    def close(self) -> None:
        """Drop all queued parts and cancel running calls."""
        with self._changed:
            self._closed = True
            dropped = [part for waiting in self._lanes for part in waiting]
            running = list(self._running)
            for waiting in self._lanes:
                waiting.clear()
            self._changed.notify_all()
        for part in dropped:
            part.future.cancel()
        for call in running:
            call.manager.start_cancel()


class Batcher:
    """Runs the rows of requests in calls of bounded size.

    Args:
        function: every input has one value for each row, and each output row depends on its input row alone.
        outputs: dtype and shape of each output by name; the first dimension is unknown.
        batching: settings.
        budget: of all calls of long rows.
        values: most output values of a request, padding included.
        observe: is called with the number of rows of each call.
        shared: inputs that apply to all rows of a request. The rows of other requests are then called alone.
        shared_calls: whether rows of several requests may share a call.
    """

    def __init__(
        self,
        function: Function,
        outputs: Mapping[str, tf.TensorSpec],
        *,
        batching: Batching,
        budget: Budget,
        values: int,
        observe: Callable[[int], None],
        shared: Sequence[str] = (),
        shared_calls: bool = True,
    ) -> None:
        self._function = function
        self._open = [n for n, spec in outputs.items() if spec.shape.rank > 1 and spec.shape[1] is None]
        self._batching = batching
        self._largest = budget.largest_call
        self._values = values
        self._observe = observe
        self._shared = frozenset(shared)
        threads = batching.threads if shared_calls else batching.direct_calls
        self.queue = Waiting(batching, budget, threads=threads, shared_calls=shared_calls)
        self._missing_threads = threads + 1
        self._starting = threading.Lock()

    def warm(self, inputs: Arrays) -> None:
        """Call the function once: the first call of a graph optimizes it, and would do so in every thread.

        Raises:
            Refused: the call fails.
        """
        called(self._function, inputs)

    def submit(
        self,
        inputs: Arrays,
        costs: np.ndarray,
        sizes: np.ndarray | None = None,
        *,
        kind: Hashable = None,
    ) -> Pending:
        """Queue the rows of a request.

        Args:
            inputs: arrays with the same number of rows, at least one, and the shared ones.
            costs: int [rows]; rows of similar cost share calls.
            sizes: int [rows], what the queue counts; None: the costs.
            kind: only requests of equal kind share a call, e.g. those whose arrays have the same width.

        Returns:
            the request. Its outputs have one row for each input row, as wide as if no other rows were called.

        Raises:
            Refused: the queue is full.
        """
        sizes = costs if sizes is None else sizes
        now = time.monotonic()
        rows, longest = len(costs), max(int(costs.max()), 1)
        if self._is_one_call(costs, rows, longest):
            parts = [_Part(inputs, rows, longest, Future(), now, kind)]
            self._put(parts, [int(sizes.sum())])
            return self._pending(parts, _first)
        costs = np.maximum(costs, 1)
        divided = self._divided(costs)
        parts = []
        for own in divided:
            own_rows = {name: value if name in self._shared else value[own] for name, value in inputs.items()}
            parts.append(_Part(own_rows, len(own), int(costs[own[-1]]), Future(), now, kind))
        self._put(parts, [int(sizes[own].sum()) for own in divided])
        return self._pending(parts, partial(_joined, np.concatenate(divided), self._values))

    def _put(self, parts: Sequence[_Part], sizes: Sequence[int]) -> None:
        if self._missing_threads:  # most signatures of a model are never called
            with self._starting:
                for _ in range(self._missing_threads):
                    threading.Thread(target=self._work, name="batches", daemon=True).start()
                self._missing_threads = 0
        self.queue.put(parts, sizes)

    def _is_one_call(self, costs: np.ndarray, rows: int, longest: int) -> bool:
        """Return whether rows need not be divided: all are of one lane and fit into one call."""
        if rows == 1:
            return True
        boundaries = self._batching.boundaries
        fits = rows <= self._batching.max_batch_size and rows * longest <= self._largest
        return fits and bisect_left(boundaries, longest) == bisect_left(boundaries, max(int(costs.min()), 1))

    def _divided(self, costs: np.ndarray) -> list[np.ndarray]:
        """Return the rows of each part: those of one lane that fit into one call."""
        lanes = np.searchsorted(self._batching.boundaries, costs)
        divided = []
        for lane in np.unique(lanes):
            own = np.flatnonzero(lanes == lane)
            size = self._batching.max_batch_size
            divided += [
                own[rows] for rows in sorted_batches(costs[own], batch_size=size, largest=self._largest)
            ]
        return divided

    def _pending(self, parts: list[_Part], join: Callable[[list[Arrays]], Arrays]) -> Pending:
        return Pending([part.future for part in parts], join, partial(self.queue.abandon, parts))

    def _work(self) -> None:
        while call := self.queue.take():
            try:
                self._run(call)
            except Exception as error:  # otherwise the thread ends and all clients wait forever
                for part in call.parts:
                    if not part.future.done():
                        part.future.set_exception(error)
            finally:
                self.queue.end(call)

    def _run(self, call: _Call) -> None:
        if not call.parts:
            return
        if len(call.parts) == 1:
            self._run_alone(call, call.parts[0])
            return
        function = call.manager.get_cancelable_function(partial(called, self._function))
        names = call.parts[0].rows
        whole = {name: np.concatenate([part.rows[name] for part in call.parts]) for name in names}
        size = sum(part.size for part in call.parts)
        try:
            outputs = function(whole)
        except Refused as error:
            if error.code is Code.UNAVAILABLE:
                raise
            for part in call.parts:  # the error may come from a row of another request
                call.manager = CancellationManager()  # the error has cancelled the other one
                self._run_alone(call, part)
            return
        self._observe(size)
        start = 0
        for part in call.parts:
            own = {name: value[start : start + part.size] for name, value in outputs.items()}
            part.future.set_result(self._trimmed(own))
            start += part.size

    def _run_alone(self, call: _Call, part: _Part) -> None:
        try:
            outputs = call.manager.get_cancelable_function(partial(called, self._function))(part.rows)
        except Refused as error:
            part.future.set_exception(error)
        else:
            self._observe(part.size)
            part.future.set_result(outputs)

    def _trimmed(self, outputs: Arrays) -> Arrays:
        """Trim outputs [rows, T, …] to the longest row, if an output `length` has the length of each row.

        A batch is padded to the longest row of all its requests. The width is at least 1.
        """
        if "length" not in outputs:
            return outputs
        width = max(int(outputs["length"].max()), 1)
        # A copy: a view would keep the outputs of all requests of the call.
        return outputs | {name: outputs[name][:, :width].copy() for name in self._open}

    def close(self) -> None:
        """Drop queued parts and cancel running calls."""
        self.queue.close()


def _first(outputs: Sequence[Arrays]) -> Arrays:
    return outputs[0]


def _full(what: str) -> Refused:
    return Refused(Code.RESOURCE_EXHAUSTED, f"the queue is full ({what}); try again later")


def _joined(order: np.ndarray, most: int, parts: Sequence[Arrays]) -> Arrays:
    """Join rows of several calls into one array, row i at place `order[i]`.

    Raises:
        Refused: all rows padded to the longest one would have more values than `most`.
    """
    shapes = {name: np.max([part[name].shape[1:] for part in parts], axis=0) for name in parts[0]}
    values = len(order) * sum(int(np.prod(shape)) for shape in shapes.values())
    if values > most:
        raise Refused(
            Code.INVALID_ARGUMENT,
            f"the response would have {values:,} values, because all rows are padded to the longest one; at "
            f"most {most:,} are allowed (--max-values); send long and short texts in separate requests",
        )
    return {name: in_order([part[name] for part in parts], order) for name in parts[0]}
