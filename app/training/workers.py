"""The processes that train together: one alone, or the workers of a cluster.

A worker of a cluster computes the same steps as the others, with its part of the rows. The first one, the
chief, also validates, writes the run directory, and tells the others what it has found.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import UserError

MULTI_WORKER = "multi_worker"
EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
LONGEST_WAIT = 600.0
"""Seconds that a worker waits for the others to start."""
POLL = 0.2
ON_HOSTS, ON_DEVICES = 7001, 7002
"""Keys of the groups of collective operations: of one CPU, and of one device, of each worker."""


class Alone:
    """A process that trains by itself."""

    number = 1
    rank = 0
    """Among all workers, from 0."""
    name = ""
    chief_name = ""
    is_chief = True

    def devices(self, *, several: bool) -> list[str | None]:
        """Return the devices of this process that have a replica each; None: TensorFlow chooses.

        Args:
            several: whether to use all of them.
        """
        if not several:
            return [None]
        import tensorflow as tf

        return [device.name for device in _local_devices(tf.config.list_logical_devices())]

    def add(self, *tensors: Any) -> list[Any]:
        """Return the sums over all workers of tensors float32, in a graph: each worker gets the same bits."""
        return list(tensors)

    def name_of(self, rank: int) -> str:
        """Return the name of a worker for the user."""
        return self.name

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """Return what `make` returns in the chief, a value that JSON can hold."""
        return make()

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all workers, which JSON can hold."""
        return [value]

    def conclude(self, value: Any) -> Any:
        """Return the value of the chief; errors before it are those of all workers, see `report`."""
        return value

    def align(self, variables: Sequence[Any]) -> None:
        """Give variables the values that they have in the chief."""

    def report(self, error: UserError) -> None:
        """Let the other workers know, before the first step, that this one ends."""

    def explain(self, error: Exception, where: str) -> Exception:
        """Return what to raise for an error of TensorFlow in a step."""
        return error


@dataclass(frozen=True)
class Place:
    """The cluster that `TF_CONFIG` describes, and which of its workers this process is."""

    addresses: tuple[str, ...]
    """HOST:PORT of each worker, the chief first."""
    rank: int
    names: tuple[str, ...]
    """Name of each worker, as in `TF_CONFIG`: `worker 1`."""
    tasks: tuple[str, ...]
    """Name of each worker in devices of TensorFlow: `/job:worker/replica:0/task:1`."""

    def name(self, rank: int) -> str:
        """Return the name of a worker for the user."""
        return f"{self.names[rank]} ({self.addresses[rank]})"


def read_place(text: str | None) -> Place:
    """Read a value of `TF_CONFIG`.

    Raises:
        UserError: it is missing, not valid, or has tasks other than `chief` and `worker`.
    """

    def wrong(reason: str) -> UserError:
        return UserError(
            f"training.strategy = {MULTI_WORKER!r} needs the environment variable TF_CONFIG: {reason}; give "
            f"each worker all addresses and its own index, e.g. TF_CONFIG='{EXAMPLE}'"
        )

    if not text:
        raise wrong("it is not set")
    try:
        read = json.loads(text)
        cluster, kind, index = read["cluster"], read["task"]["type"], read["task"]["index"]
        groups = {str(name): [str(address) for address in own] for name, own in cluster.items()}
    except ValueError as error:
        raise wrong(f"it is not JSON ({error})") from None
    except (KeyError, TypeError, AttributeError):
        raise wrong(f"it has no cluster, task.type or task.index: {text}") from None
    if others := groups.keys() - {"chief", "worker"}:
        raise wrong(f"tasks of type {', '.join(sorted(others))} are not used, only worker and chief")
    order = [(name, i) for name in ("chief", "worker") for i in range(len(groups.get(name, ())))]
    addresses = tuple(groups[name][i] for name, i in order)
    if (kind, index) not in order or isinstance(index, bool):
        raise wrong(f"its task is {kind} {index}, which is not in its cluster: {json.dumps(groups)}")
    for address in addresses:
        if not re.fullmatch(r".+:[0-9]{1,5}", address):
            raise wrong(f"{address!r} is not HOST:PORT")
    if len(set(addresses)) < len(addresses):
        raise wrong(f"an address occurs twice: {', '.join(addresses)}")
    return Place(
        addresses,
        order.index((kind, index)),
        tuple(f"{name} {i}" for name, i in order),
        tuple(f"/job:{name}/replica:0/task:{i}" for name, i in order),
    )


class Cluster(Alone):
    """One of several workers, which add up and exchange values by collective operations of TensorFlow.

    `tf.distribute.MultiWorkerMirroredStrategy` connects them, and notices when one ends.
    """

    def __init__(self, place: Place, should_stop: Callable[[], bool], *, wait: float = LONGEST_WAIT) -> None:
        """Connect with the other workers; TensorFlow must not be in use yet.

        Args:
            place: in the cluster.
            should_stop: True ends the wait.
            wait: seconds that the others may take to start.

        Raises:
            UserError: the others do not start in time, or TensorFlow refuses.
        """
        self.place, self.rank, self.number = place, place.rank, len(place.addresses)
        self.is_chief = not self.rank
        self.name, self.chief_name = place.name(self.rank), place.name(0)
        self._exchanges = self._sums = 0
        self._reports = True
        self._connect(should_stop, wait)

    def _connect(self, should_stop: Callable[[], bool], wait: float) -> None:
        import tensorflow as tf

        failed: list[Exception] = []

        def connect() -> None:
            try:
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
            except Exception as error:
                failed.append(error)

        end = time.monotonic() + wait

        def has_time() -> bool:
            return time.monotonic() < end and not should_stop()

        # TensorFlow waits without an end, and no signal interrupts it: in a thread it can be left alone, and
        # without the chief it is not even tried, for then no other thread runs.
        thread = threading.Thread(target=connect, daemon=True)
        found = self.is_chief or _answers(self.place.addresses[0])
        while not found and has_time():
            time.sleep(POLL)
            found = _answers(self.place.addresses[0])
        if found:
            thread.start()
        while thread.is_alive() and has_time():
            thread.join(POLL)
        if not found or thread.is_alive():
            waited = f"after {wait:g} s" if time.monotonic() >= end else "when it was interrupted"
            raise UserError(
                f"{self.name}: not all {self.number} workers had started {waited}: "
                f"{', '.join(self.place.addresses)}; start the same command on all of them"
            )
        if failed:
            raise UserError(
                f"{self.name}: cannot connect with the other workers: {_first_line(failed[0])}; start each "
                "worker in a new process, at an address of its own machine with a free port"
            )
        # TensorFlow has put a handler of its own in place of that of this process, to no use here.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))

    def name_of(self, rank: int) -> str:
        """Return the name of a worker for the user: `worker 1 (HOST:PORT)`."""
        return self.place.name(rank)

    def devices(self, *, several: bool) -> list[str | None]:
        """Return the devices of this worker."""
        import tensorflow as tf

        task = self.place.tasks[self.rank]
        own = [device for device in tf.config.list_logical_devices() if device.name.startswith(f"{task}/")]
        return [device.name for device in _local_devices(own)]

    def add(self, *tensors: Any) -> list[Any]:
        """Return the sums over all workers, of one operation for all tensors."""
        import tensorflow as tf

        self._sums += 1
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
        total = tf.raw_ops.CollectiveReduceV2(
            input=flat,
            group_size=self.number,
            group_key=ON_DEVICES,
            instance_key=self._sums,
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
        )
        parts = tf.split(total, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """Return what `make` returns in the chief; it is called there alone."""
        if self.is_chief:
            made = make()
            self._broadcast(json.dumps(made).encode())
            return made
        return json.loads(self._broadcast(None))

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all workers.

        Raises:
            UserError: another worker has reported an error, or was lost.
        """
        import tensorflow as tf

        own = _packed(json.dumps({"value": value}).encode())
        try:
            sizes = self._gather(np.array([len(own)], np.int32))
            gathered = self._gather(np.pad(own, (0, int(sizes.max()) - len(own))))
        except tf.errors.OpError as error:
            raise self.explain(error, "before the first step") from None
        answers = [json.loads(_unpacked(row)) for row in gathered.reshape(self.number, -1)]
        for rank, answer in enumerate(answers):
            if "error" in answer:
                self._reports = False
                raise UserError(f"{self.place.name(rank)} has ended: {answer['error']}")
        return [answer["value"] for answer in answers]

    def conclude(self, value: Any) -> Any:
        """Return the value of the chief; nobody waits in `exchange` afterwards."""
        found = self.exchange(value)[0]
        self._reports = False
        return found

    def report(self, error: UserError) -> None:
        """Let the other workers, which wait in `exchange`, know the error."""
        import tensorflow as tf

        if not self._reports:
            return
        self._reports = False
        own = _packed(json.dumps({"error": str(error)}).encode())
        try:
            sizes = self._gather(np.array([len(own)], np.int32))
            self._gather(np.pad(own, (0, int(sizes.max()) - len(own))))
        except tf.errors.OpError:
            return  # they have ended, too

    def align(self, variables: Sequence[Any]) -> None:
        """Give variables the values that they have in the chief."""
        arrays = [np.asarray(variable) for variable in variables]
        sent = self._broadcast(b"".join(a.tobytes() for a in arrays) if self.is_chief else None)
        if self.is_chief:
            return
        start = 0
        for array, variable in zip(arrays, variables, strict=True):
            own = np.frombuffer(sent, array.dtype, array.size, start)
            variable.assign(own.reshape(array.shape))
            start += array.nbytes

    def explain(self, error: Exception, where: str) -> Exception:
        """Return that a worker was lost, if that is what an error of TensorFlow means."""
        import tensorflow as tf

        lost = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.FailedPreconditionError,
            tf.errors.InternalError,
        )
        if not isinstance(error, lost):
            return error
        text = str(error)
        ranks = [rank for rank, task in enumerate(self.place.tasks) if rank != self.rank and task in text]
        who = self.place.name(ranks[0]) if ranks else "another worker"
        return UserError(
            f"{self.name}: {who} has ended or cannot be reached, {where}; run the same command with --resume "
            "on all workers: training continues from the last checkpoint of the chief"
        )

    def _gather(self, own: np.ndarray) -> np.ndarray:
        """Return the arrays int32 [N] of all workers, one after the other."""
        import tensorflow as tf

        with tf.device(f"{self.place.tasks[self.rank]}/device:CPU:0"):
            found: np.ndarray = tf.raw_ops.CollectiveGatherV2(
                input=tf.constant(own),
                group_size=self.number,
                group_key=ON_HOSTS,
                instance_key=self._next_exchange(),
                ordering_token=[],
            ).numpy()
        return found

    def _broadcast(self, content: bytes | None) -> bytes:
        """Return the content of the chief, who gives it; the others give None."""
        own = np.zeros(0, np.int32) if content is None else _packed(content)
        size = int(self._send(np.array([len(own)], np.int32))[0])
        return _unpacked(self._send(own if self.is_chief else np.zeros(size, np.int32)))

    def _send(self, values: np.ndarray) -> np.ndarray:
        """Return the array int32 [N] of the chief; those of the others have the same size."""
        import tensorflow as tf

        keys = {"group_size": self.number, "group_key": ON_HOSTS, "instance_key": self._next_exchange()}
        with tf.device(f"{self.place.tasks[self.rank]}/device:CPU:0"):
            if self.is_chief:
                tf.raw_ops.CollectiveBcastSendV2(input=tf.constant(values), **keys)
                return values
            received: np.ndarray = tf.raw_ops.CollectiveBcastRecvV2(
                T=tf.int32, shape=[len(values)], **keys
            ).numpy()
            return received

    def _next_exchange(self) -> int:
        """Return a new key: TensorFlow wants arrays of one size for each."""
        self._exchanges += 1
        return 1_000_000 + self._exchanges


def _answers(address: str) -> bool:
    """Return whether a process listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _packed(content: bytes) -> np.ndarray:
    """Return bytes as int32 [N], the type that collective operations take, with their number before them."""
    padded = content + bytes(-len(content) % 4)
    return np.concatenate([np.array([len(content)], "<i4"), np.frombuffer(padded, "<i4")]).astype(np.int32)


def _unpacked(values: np.ndarray) -> bytes:
    return values[1:].astype("<i4").tobytes()[: int(values[0])]


def _local_devices(devices: Sequence[Any]) -> list[Any]:
    """Return the GPUs among devices of TensorFlow, or the CPUs if there is no GPU."""
    of_kind = {kind: [own for own in devices if own.device_type == kind] for kind in ("GPU", "CPU")}
    return of_kind["GPU"] or of_kind["CPU"]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def place_of(strategy: str) -> Place | None:
    """Return the place of this process in the cluster of a strategy; None: it trains alone.

    Raises:
        UserError: `TF_CONFIG` is not valid.
    """
    return read_place(os.environ.get("TF_CONFIG")) if strategy == MULTI_WORKER else None
