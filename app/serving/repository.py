"""The served models: loads their versions, routes requests to them, and retires old versions."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from app.allocator import return_memory
from app.prediction.kernels import AUTO
from app.serving.calls import Budget
from app.serving.errors import Code, Refused
from app.serving.logs import Log
from app.serving.metrics import Metrics, QueueLength
from app.serving.options import Batching, Limits
from app.serving.servable import Servable, load_servable, versions_of
from data.errors import UserError


class State(IntEnum):
    """State of a version, numbered as in TensorFlow Serving's ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionStatus(NamedTuple):
    """Status of a version."""

    version: int
    state: State
    error_code: Code | None = None
    """None: no error."""
    error_message: str = ""


Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, size and modification time of each file of a directory."""


@dataclass
class _Version:
    """Bookkeeping of one version."""

    state: State = State.START
    servable: Servable | None = None
    users: int = 0
    """Number of requests in progress."""
    error: UserError | None = None
    failed: Fingerprint = ()
    """Files of the last load that failed."""
    seen: Fingerprint = ()
    """Files at the last poll."""


class Repository:
    """The served models and their versions.

    Args:
        models: directory of each model, or of one version of it, by name.
        keep: number of newest versions of each model that are served.
        labels: version by model and label. Labelled versions are served in addition to the newest ones.
        limits: largest requests.
        batching: dynamic batching.
        kernels: one of `app.prediction.kernels.KERNELS`.
        metrics: of the server.
        log: receives loads and failures.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        *,
        keep: int = 1,
        labels: Mapping[tuple[str, str], int] | None = None,
        limits: Limits | None = None,
        batching: Batching | None = None,
        kernels: str = AUTO,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.limits = limits or Limits()
        self._models = dict(models)
        self._keep = keep
        self._labels = dict(labels or {})
        self._batching = batching or Batching()
        self._kernels = kernels
        self._metrics = metrics
        self._log = log
        self._versions: dict[str, dict[int, _Version]] = {name: {} for name in models}
        self._budget = Budget(self._batching.max_bytes)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._polling: threading.Thread | None = None
        metrics.watch_queues(self._queues)

    # Requests

    @property
    def names(self) -> list[str]:
        """Names of all models, whether a version is loaded or not."""
        return list(self._models)

    @property
    def ready(self) -> bool:
        """Whether every model has an available version and the server is not stopping."""
        with self._lock:
            return not self._stopping.is_set() and all(map(_available, self._versions.values()))

    @contextmanager
    def acquire(
        self, name: str, *, version: int | None = None, label: str | None = None
    ) -> Iterator[Servable]:
        """Hold a version for a request; it is not unloaded before the context ends.

        Args:
            name: of the model.
            version: its number; None: the newest available one.
            label: instead of a number.

        Raises:
            Refused: there is no such version.
        """
        with self._lock:
            held = self._find(name, version, label)
            held.users += 1
        try:
            assert held.servable is not None
            yield held.servable
        finally:
            with self._lock:
                held.users -= 1

    def _find(self, name: str, version: int | None, label: str | None) -> _Version:
        if not name:
            raise Refused(Code.INVALID_ARGUMENT, "the request names no model")
        if label is not None:
            version = self._labelled(name, label)
        available = _available(self._versions.get(name, {}))
        if version is None:
            version = max(available, default=None)
            missing = f"model {name!r} has no available version"
        else:
            missing = f"version {version} of model {name!r} is not available"
        if name not in self._versions:
            missing = f"model {name!r} not found"
        if version not in available:
            raise Refused(Code.NOT_FOUND, missing)
        return available[version]

    def _labelled(self, name: str, label: str) -> int:
        if (name, label) not in self._labels:
            raise Refused(Code.INVALID_ARGUMENT, f"model {name!r} has no version label {label!r}")
        return self._labels[name, label]

    def status(
        self, name: str, *, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        """Return the status of the versions of a model, newest first, or of one of them.

        Raises:
            Refused: there is no such version.
        """
        if label is not None:
            version = self._labelled(name, label)
        with self._lock:
            known = dict(self._versions.get(name, {}))
            found = [_status(number, known[number]) for number in sorted(known, reverse=True)]
        if version is not None:
            found = [status for status in found if status.version == version]
            if not found:
                raise Refused(Code.NOT_FOUND, f"version {version} of model {name!r} not found")
        if not found:
            raise Refused(Code.NOT_FOUND, f"no version of model {name!r} found")
        return found

    def _queues(self) -> list[QueueLength]:
        return [
            QueueLength(servable.name, servable.version, name, rows)
            for servable in self._servables()
            for name, rows in servable.waiting().items()
        ]

    def _servables(self) -> list[Servable]:
        with self._lock:
            return [v.servable for of in self._versions.values() for v in of.values() if v.servable]

    # Versions

    def start(self, interval: float) -> None:
        """Start a thread that polls now and then every `interval` seconds."""

        def poll() -> None:
            while not self._stopping.is_set():
                self.poll()
                self._stopping.wait(interval)

        self._polling = threading.Thread(target=poll, name="versions", daemon=True)
        self._polling.start()

    def poll(self) -> None:
        """Look for new versions once: load the newest ones, then retire older ones.

        If a version cannot be loaded, older versions stay available. Loading is tried again when the files
        have changed and have stopped changing.
        """
        for name, path in self._models.items():
            try:
                self._poll_model(name, versions_of(path))
            except Exception:  # keep polling: the next attempt may succeed
                self._log("poll_failed", model=name, traceback=traceback.format_exc())

    def _poll_model(self, name: str, directories: Mapping[int, Path]) -> None:
        served = self._versions[name]
        pinned = {number for (model, _), number in self._labels.items() if model == name}
        kept: set[int] = set()
        for number in sorted(directories, reverse=True):
            if self._stopping.is_set():
                return
            if (len(kept) < self._keep or number in pinned) and self._load(name, number, directories[number]):
                kept.add(number)
        if kept:
            with self._lock:
                for number, version in served.items():
                    if version.state is State.AVAILABLE and number not in kept:
                        version.state = State.UNLOADING
        self._free(name, directories)

    def _load(self, name: str, number: int, path: Path) -> bool:
        """Load a version unless it is loaded. Return whether it is available."""
        with self._lock:
            version = self._versions[name].setdefault(number, _Version())
            if version.state is State.AVAILABLE:
                return True
            if version.state is State.UNLOADING:  # still in use: wait for the next poll
                return False
        files = _fingerprint(path)
        settled, version.seen = files == version.seen, files
        if version.error is not None and (files == version.failed or not settled):
            return False
        self._set(version, State.LOADING)
        began = time.monotonic()
        try:
            servable = load_servable(
                name,
                number,
                path,
                limits=self.limits,
                batching=self._batching,
                metrics=self._metrics,
                budget=self._budget,
                kernels=self._kernels,
                note=lambda sentence: self._log("kernels", model=name, version=number, message=sentence),
            )
        except Exception as error:
            version.failed = files
            known = isinstance(error, UserError)
            message = str(error) if known else f"{path}: {type(error).__name__}: {error}"
            version.error = error if isinstance(error, UserError) else UserError(message)
            self._set(version, State.END)
            self._metrics.load(name, number, loaded=False)
            more = {} if known else {"traceback": traceback.format_exc()}
            self._log("load_failed", model=name, version=number, error=message, **more)
            return False
        with self._lock:
            version.servable, version.error, version.state = servable, None, State.AVAILABLE
        # Without this, each garbage collection traverses TensorFlow and all models: all requests would wait
        # for 0.3 s.
        gc.freeze()
        return_memory()  # a load frees tens of megabytes, in which graphs were read and optimized
        self._metrics.load(name, number, loaded=True)
        self._log("loaded", model=name, version=number, seconds=round(time.monotonic() - began, 3))
        return True

    def _set(self, version: _Version, state: State) -> None:
        with self._lock:
            version.state = state

    def _free(self, name: str, directories: Iterable[int]) -> None:
        """Unload retired versions without requests; forget versions whose directories were deleted."""
        freed: list[Servable] = []
        with self._lock:
            for number, version in list(self._versions[name].items()):
                if version.state is State.UNLOADING and version.servable and not version.users:
                    freed.append(version.servable)
                    version.servable, version.state = None, State.END
                    self._log("retired", model=name, version=number)
                    self._metrics.retired(name, number)
                if version.state is State.END and number not in directories:
                    del self._versions[name][number]
        if freed:
            _close(freed)
            freed.clear()
            gc.unfreeze()
            gc.collect()  # a loaded SavedModel has reference cycles
            gc.freeze()

    def stop(self) -> None:
        """Stop loading versions; the repository is no longer ready."""
        self._stopping.set()

    def close(self) -> None:
        """Cancel all queued and running calls, and wait for a load in progress."""
        self.stop()
        _close(self._servables())
        if self._polling is not None:  # Python must not exit during a load
            self._polling.join()
        gc.unfreeze()


def _available(versions: Mapping[int, _Version]) -> dict[int, _Version]:
    return {number: version for number, version in versions.items() if version.state is State.AVAILABLE}


def _close(servables: Iterable[Servable]) -> None:
    for servable in servables:
        servable.close()


def _status(number: int, version: _Version) -> VersionStatus:
    if version.error is None:
        return VersionStatus(number, version.state)
    return VersionStatus(number, version.state, Code.FAILED_PRECONDITION, str(version.error))


def _fingerprint(path: Path) -> Fingerprint:
    found = []
    for file in sorted(path.rglob("*")):
        with suppress(OSError):  # deleted meanwhile
            facts = file.stat()
            found.append((str(file), facts.st_size, facts.st_mtime_ns))
    return tuple(found)
