"""Dynamic batching: rows of several requests in one call of the model, by TensorFlow's batching kernel.

Requests that are queued in Python go to the kernel together. With a thread for each request, the threads
would wait for the interpreter lock more than for the model, and the kernel would see few requests at a time.

The kernel is the one of `tf.nondifferentiable_batch_function`. That decorator gives every function the same
name, and the kernel finds its queue by name: a request to one model would be run by another one. Therefore
the op is called here with unique names.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager.cancellation import CancellationManager

from app.serving.calls import STOPPING, Arrays, Function, Pending, called, refusal
from app.serving.errors import Code, Refused
from app.serving.options import Batching
from data.batching import in_order

_queue_numbers = itertools.count()


@dataclass(frozen=True)
class _Part:
    """Rows of a request that stay in one call."""

    rows: Arrays
    size: int
    future: Future[Arrays]


class Waiting:
    """A bounded queue of parts of requests, in lanes that never share a call."""

    def __init__(self, lanes: int, *, most: int, limit: int) -> None:
        """Create an empty queue.

        Args:
            lanes: number of lanes; parts of different lanes are not taken together.
            most: rows that are taken at a time.
            limit: rows queued or running from which on further requests are refused.
        """
        self._lanes: list[deque[tuple[int, _Part]]] = [deque() for _ in range(lanes)]
        self._numbers = itertools.count()
        self._most = most
        self._limit = limit
        self._changed = threading.Condition()
        self._closed = False
        self.rows = 0
        """Rows that are queued or running."""

    def put(self, parts: Sequence[tuple[int, _Part]]) -> None:
        """Queue the parts of a request, each with its lane.

        Raises:
            Refused: the queue is full, or the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise Refused(Code.UNAVAILABLE, STOPPING)
            # Rows of this request do not count, so that large requests are accepted as easily as small ones.
            if self.rows >= self._limit:
                raise Refused(
                    Code.RESOURCE_EXHAUSTED, f"the queue is full ({self.rows} rows); try again later"
                )
            for lane, part in parts:
                self.rows += part.size
                self._lanes[lane].append((next(self._numbers), part))
            self._changed.notify(len(parts))
        for _, part in parts:
            part.future.add_done_callback(partial(self._leave, part.size))

    def take(self) -> tuple[int, list[_Part]]:
        """Wait for parts; take the oldest one and those after it in its lane that fit into one call.

        Returns:
            the lane and the parts; no parts once the queue is closed.
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
                    if part.future.set_running_or_notify_cancel():  # otherwise its client has gone
                        found.append(part)
                        room -= part.size
                if found:
                    return lane, found
            return 0, []

    def _leave(self, rows: int, _: Future[Arrays]) -> None:
        with self._changed:
            self.rows -= rows

    def close(self) -> None:
        """Drop all queued parts."""
        with self._changed:
            self._closed = True
            dropped = [part for waiting in self._lanes for _, part in waiting]
            for waiting in self._lanes:
                waiting.clear()
            self._changed.notify_all()
        for part in dropped:
            part.future.cancel()


class Batcher:
    """Runs rows of several requests in one call.

    Args:
        function: every input has one value for each row, and each output row depends on its input row alone.
        inputs: dtype and shape of each input by name; the first dimension is unknown.
        outputs: likewise.
        scheduler: name; batchers of the same name share threads and must have equal `batching`.
        batching: settings.
        observe: is called with the number of rows of each call.
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
        """Return the function of a batch; its last output holds the batch size in the first row."""

        def body(*rows: tf.Tensor) -> list[tf.Tensor]:
            outputs = self._function(**dict(zip(self._names, rows, strict=True)))
            size = tf.shape(rows[0])[0]
            return [*(outputs[name] for name in self._outputs), size * tf.one_hot(0, size, dtype=tf.int32)]

        return tf.function(body, input_signature=specs, autograph=False).get_concrete_function()

    def warm(self, inputs: Arrays) -> None:
        """Call each lane once: the first call of a graph optimizes it, and would do so in every thread.

        Raises:
            Refused: the call fails.
        """
        rows = [tf.constant(inputs[name][: self._batching.max_batch_size]) for name in self._names]
        try:
            for lane in self._lanes:
                lane(*rows)
        except tf.errors.OpError as error:
            raise refusal(error) from None

    def submit(self, inputs: Arrays, costs: np.ndarray) -> Pending:
        """Queue the rows of a request.

        Args:
            inputs: arrays with the same number of rows, at least one.
            costs: int [rows]; rows of similar cost share calls.

        Returns:
            the request. Its outputs have one row for each input row, as wide as if no other rows were called.

        Raises:
            Refused: the queue is full.
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
                self._call(lane, parts)
            except Exception as error:  # otherwise the thread ends and all clients wait forever
                for part in parts:
                    if not part.future.done():
                        part.future.set_exception(error)

    def _call(self, lane: int, parts: list[_Part]) -> None:
        whole = [np.concatenate([part.rows[name] for part in parts]) for name in self._names]
        try:
            *found, sizes = self._lanes[lane](*map(tf.constant, whole))
        except tf.errors.CancelledError as error:
            for part in parts:
                part.future.set_exception(refusal(error))
            return
        except tf.errors.OpError:
            for part in parts:  # the error may come from a row of another request
                self._call_alone(part)
            return
        if size := int(sizes.numpy().max()):
            self._observe(size)
        outputs = {name: value.numpy() for name, value in zip(self._outputs, found, strict=True)}
        start = 0
        for part in parts:
            own = {name: value[start : start + part.size] for name, value in outputs.items()}
            part.future.set_result(self._trimmed(own))
            start += part.size

    def _call_alone(self, part: _Part) -> None:
        try:
            part.future.set_result(self._trimmed(called(self._function, part.rows)))
        except Refused as error:
            part.future.set_exception(error)

    def _trimmed(self, outputs: Arrays) -> Arrays:
        """Trim outputs [rows, T, …] to the longest row, if an output `length` has the length of each row.

        A batch is padded to the longest row of all its requests. The width is at least 1.
        """
        if "length" not in outputs:
            return outputs
        width = max(int(outputs["length"].max()), 1)
        return outputs | {name: outputs[name][:, :width] for name in self._open}

    def close(self) -> None:
        """Drop queued parts and cancel running calls."""
        self.queue.close()
        self._manager.start_cancel()


def _batched(body: Any, specs: list[tf.TensorSpec], scheduler: str, batching: Batching) -> Any:
    """Return a function whose concurrent calls become one call of `body`."""
    number = next(_queue_numbers)

    def shared(*rows: tf.Tensor) -> Any:
        return tf.raw_ops.BatchFunction(
            in_tensors=list(rows),
            captured_tensors=body.captured_inputs,
            f=body,
            num_batch_threads=batching.threads,
            max_batch_size=batching.max_batch_size,
            batch_timeout_micros=round(batching.timeout * 1e6),
            max_enqueued_batches=2 * batching.threads,  # never full: there are no more calls than threads
            Tout=[output.dtype for output in body.outputs],
            shared_name=scheduler,
            batching_queue=str(number),
            # Parts of a split request could have outputs of different widths.
            enable_large_batch_splitting=False,
        )

    return tf.function(shared, input_signature=specs, autograph=False).get_concrete_function()


def _joined(order: np.ndarray, parts: Sequence[Arrays]) -> Arrays:
    """Join rows of several calls into one array, row i at place `order[i]`."""
    return {name: in_order([part[name] for part in parts], order) for name in parts[0]}
