"""What is served: models, their versions, and how these come and go."""

from __future__ import annotations

import gc
import itertools
import json
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from app.artifacts.files import verify_checksums
from app.artifacts.operations import forbidden_operations
from app.artifacts.saved_model import SAVED_MODEL
from app.artifacts.warmup import read_warmup
from app.prediction.loading import EXPORT_MANIFEST, load_predictor
from app.prediction.predictor import Predictor
from app.serving.batching import Batcher, Direct, Pending
from app.serving.errors import Code, Refused
from app.serving.logs import Log
from app.serving.metrics import Metrics, QueueLength
from app.serving.options import Batching, Limits
from app.tasks.base import Task
from data.errors import UserError

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY = "tensorflow/serving/classify"
"""Method of a signature that classifies examples."""
TEXT_FEATURE = "text"
"""Of an example: the text to classify."""
WARMUP_SECONDS = 600
"""That one request of a warm-up may take."""
INITIALIZER = "__saved_model_init_op"
"""Stands among the signatures of a SavedModel and is none."""
_repository_numbers = itertools.count()


class TensorInfo(NamedTuple):
    """An input or output of a signature."""

    dtype: tf.DType
    shape: tuple[int | None, ...]
    """None where any size will do."""
    tensor_name: str
    """In the SavedModel's graph."""


class Signature:
    """One function of a servable: arrays in, arrays out, from any thread.

    Args:
        name: of the signature.
        definition: of the SavedModel.
        answerer: makes the calls.
        task: says which inputs are no rows, and which are limited.
        limits: what a request may ask for.
    """

    def __init__(
        self, name: str, definition: SignatureDef, answerer: Batcher | Direct, task: Task[Any], limits: Limits
    ) -> None:
        self.name = name
        self.method_name: str = definition.method_name
        self.inputs: Mapping[str, TensorInfo] = _tensors(definition.inputs)
        self.outputs: Mapping[str, TensorInfo] = _tensors(definition.outputs)
        self._answerer = answerer
        self._limits = limits
        self._row_inputs = [n for n, info in self.inputs.items() if info.shape and n not in task.options]
        self._limited = [n for n in task.limited if n in self.inputs]

    @property
    def waiting(self) -> int:
        """Rows that are accepted and not yet answered."""
        return self._answerer.queue.rows

    def __call__(
        self, inputs: Mapping[str, np.ndarray], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Answers a request; the thread waits.

        Args:
            inputs: by name; strings are arrays of Python objects, bytes.
            deadline: on the clock `time.monotonic()`; None: the limits' timeout from now.

        Returns:
            outputs by name; strings as in the inputs.

        Raises:
            Refused: the inputs are not the signature's, exceed a limit, or can't be answered (in time).
        """
        return self._submit(inputs).result(self._until(deadline))

    async def answer(
        self, inputs: Mapping[str, np.ndarray], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Answers as a call does, but no thread waits; a task that is cancelled gives its request up."""
        return await self._submit(inputs).wait(self._until(deadline))

    def warm(self, inputs: Mapping[str, np.ndarray] | None = None) -> None:
        """Answers one request in every way it has, so that no client waits for the graph to be prepared.

        Args:
            inputs: None: one small row. The limits do not count.

        Raises:
            Refused: the model cannot answer.
        """
        arrays = dict(inputs or {name: _small(info) for name, info in self.inputs.items()})
        if isinstance(self._answerer, Batcher):
            self._answerer.warm(arrays)
        else:
            self._answerer.submit(arrays, 1).result(time.monotonic() + WARMUP_SECONDS)

    def close(self) -> None:
        """Stops what is under way."""
        self._answerer.close()

    def _until(self, deadline: float | None) -> float:
        return time.monotonic() + self._limits.timeout if deadline is None else deadline

    def _submit(self, inputs: Mapping[str, np.ndarray]) -> Pending:
        costs = self._checked(inputs)
        if isinstance(self._answerer, Batcher):
            return self._answerer.submit(dict(inputs), costs)
        return self._answerer.submit(dict(inputs), len(costs))

    def _checked(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Refuses what is not for this signature; gives the cost of each row, int64 [rows]."""
        if inputs.keys() != self.inputs.keys():
            raise Refused(Code.INVALID_ARGUMENT, _other_names(inputs, self.inputs))
        for place, (name, info) in enumerate(self.inputs.items()):
            value = inputs[name]
            dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
            if dtype != info.dtype:
                raise Refused(
                    Code.INVALID_ARGUMENT,
                    f"Expects arg[{place}] to be {_word(info.dtype)} but {_word(dtype)} is provided "
                    f"for input {name!r}",
                )
            if not tf.TensorShape(info.shape).is_compatible_with(value.shape):
                raise Refused(
                    Code.INVALID_ARGUMENT,
                    f"input {name!r} has the shape {_shape(value.shape)}, expected {_shape(info.shape)}",
                )
        rows = self._checked_rows(inputs)
        costs = np.zeros(rows, np.int64)
        for name, info in self.inputs.items():
            if info.dtype != tf.string:
                continue
            sizes = _sizes(name, inputs[name])
            if sizes.size and sizes.max() > self._limits.text_bytes:
                raise Refused(
                    Code.INVALID_ARGUMENT,
                    f"input {name!r} has a string of {sizes.max()} bytes, at most "
                    f"{self._limits.text_bytes} are allowed",
                )
            if name in self._row_inputs:
                costs += sizes.reshape(rows, -1).sum(axis=1)
        for name in self._limited:
            most = getattr(self._limits, name)
            highest = int(inputs[name].max()) if inputs[name].size else 0
            if highest > most:
                raise Refused(
                    Code.INVALID_ARGUMENT, f"input {name!r} is {highest}, at most {most} is allowed"
                )
            if name in self._row_inputs:
                costs += inputs[name]
        return costs

    def _checked_rows(self, inputs: Mapping[str, np.ndarray]) -> int:
        counts = {name: len(inputs[name]) for name in self._row_inputs}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise Refused(
                Code.INVALID_ARGUMENT, f"Input tensors must have equal 0th-dimension size; got {found}"
            )
        rows = max(counts.values())
        if not rows:
            raise Refused(Code.INVALID_ARGUMENT, "the request has no rows, expected at least 1")
        if rows > self._limits.rows:
            raise Refused(
                Code.INVALID_ARGUMENT,
                f"the request has {rows} rows, at most {self._limits.rows} are allowed",
            )
        return rows


def _tensors(infos: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(
            tf.as_dtype(info.dtype),
            tuple(None if size.size < 0 else size.size for size in info.tensor_shape.dim),
            info.name,
        )
        for name, info in sorted(infos.items())
    }


def _specs(infos: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(info.shape, info.dtype, name) for name, info in _tensors(infos).items()}


def _other_names(found: Iterable[str], expected: Iterable[str]) -> str:
    """TensorFlow Serving's words."""
    sent, known = set(found), set(expected)

    def listed(names: set[str]) -> str:
        return "{" + ",".join(sorted(names)) + "}"

    return (
        f"input size does not match signature: {len(sent)}!={len(known)} len({listed(sent)}) != "
        f"len({listed(known)}). Sent extra: {listed(sent - known)}. "
        f"Missing but required: {listed(known - sent)}."
    )


def _word(dtype: tf.DType) -> str:
    """A dtype as TensorFlow's C++ names it."""
    name: str = dtype.name
    return {"float32": "float", "float64": "double"}.get(name, name)


def _shape(sizes: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in sizes) + "]"


def _sizes(name: str, strings: np.ndarray) -> np.ndarray:
    """Bytes of each string: int64, the shape of `strings`."""
    flat = strings.ravel()
    if not all(isinstance(value, bytes) for value in flat):
        raise Refused(Code.INVALID_ARGUMENT, f"input {name!r} has values that are no strings")
    return np.fromiter(map(len, flat), np.int64, len(flat)).reshape(strings.shape)


def _small(info: TensorInfo) -> np.ndarray:
    shape = [size or 1 for size in info.shape]
    if info.dtype == tf.string:
        return np.full(shape, b"a", object)
    return np.ones(shape, info.dtype.as_numpy_dtype)


@dataclass(frozen=True)
class Servable:
    """One loaded version of a model."""

    name: str
    version: int
    path: Path
    predictor: Predictor
    signatures: Mapping[str, Signature]
    signature_defs: Mapping[str, SignatureDef]
    """As in the SavedModel, with what is no signature."""

    @property
    def task(self) -> str:
        """Name of its task."""
        return self.predictor.task.name

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Of the export."""
        return self.predictor.manifest

    def signature(self, name: str) -> Signature:
        """The signature of a name; of an empty one: the default.

        Raises:
            Refused: there is none, in TensorFlow Serving's words.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise Refused(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def close(self) -> None:
        """Stops what is under way."""
        for signature in self.signatures.values():
            signature.close()


def load_servable(
    name: str,
    version: int,
    path: Path,
    *,
    limits: Limits,
    batching: Batching,
    metrics: Metrics,
    scheduler: str,
) -> Servable:
    """Loads an export, once its files are whole and its graph does nothing but compute, and warms it up.

    Args:
        name: of the model.
        version: its number.
        path: the version's directory.
        limits: what a request may ask for.
        batching: how requests share calls.
        metrics: are told the size of each call.
        scheduler: name; versions of a model share their threads through it.

    Raises:
        UserError: the directory is not whole, was changed, is no export, or its graph is not trusted.
    """
    verify_checksums(path, read_manifest(path)["files"])
    if found := forbidden_operations(path):
        raise UserError(f"{path}: the graph has operations that are not allowed: {'; '.join(found)}")
    predictor = load_predictor(path)
    definitions = _signature_defs(path)
    signatures = {}
    for key, definition in sorted(definitions.items()):
        if key == INITIALIZER:
            continue
        function = predictor.signatures[key]
        answerer: Batcher | Direct
        if key in predictor.manifest["batched"]:
            answerer = Batcher(
                function,
                _specs(definition.inputs),
                _specs(definition.outputs),
                scheduler=f"{scheduler}/{name}/{key}",
                batching=batching,
                observe=partial(metrics.batch, name, key),
            )
        else:
            answerer = Direct(function, batching)
        signatures[key] = Signature(key, definition, answerer, predictor.task, limits)
    servable = Servable(name, version, path, predictor, signatures, definitions)
    try:
        for signature in signatures.values():
            signature.warm()
        for request in read_warmup(path):
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            servable.signature(request.model_spec.signature_name).warm(inputs)
    except Refused as error:
        servable.close()
        raise UserError(f"{path}: can't answer a request of its warm-up: {error.message}") from None
    return servable


def read_manifest(path: Path) -> dict[str, Any]:
    """What an export says of itself.

    Raises:
        UserError: it has no manifest, or not that of an export.
    """
    try:
        manifest = json.loads((path / EXPORT_MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and {"task", "files", "batched"} <= manifest.keys():
            return manifest
    except (OSError, ValueError):
        pass
    raise UserError(f"{path}: no export of textrnn (it has no {EXPORT_MANIFEST} of one)")


def _signature_defs(path: Path) -> dict[str, SignatureDef]:
    model = SavedModel.FromString((path / SAVED_MODEL).read_bytes())
    return dict(model.meta_graphs[0].signature_def)


def versions_of(path: Path) -> dict[int, Path]:
    """The version directories of an export: below a model's directory, or the directory itself."""
    if (path / SAVED_MODEL).is_file():
        name = path.resolve().name
        version = int(name) if name.isdecimal() else read_manifest(path).get("version", 1)
        return {version: path}
    try:
        found = [p for p in path.iterdir() if p.name.isdecimal() and p.is_dir()]
    except OSError:  # gone for a moment, or for good: what is loaded goes on
        return {}
    return {int(p.name): p for p in found}


class State(IntEnum):
    """Of a version, as in TensorFlow Serving's ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionStatus(NamedTuple):
    """How it is with a version."""

    version: int
    state: State
    error_code: Code | None = None
    """None: all is well."""
    error_message: str = ""


Fingerprint = tuple[tuple[str, int, int], ...]
"""Of a directory: path, size and time of change of each file."""


@dataclass
class _Version:
    """What is known of a version."""

    state: State = State.START
    servable: Servable | None = None
    users: int = 0
    """Requests that hold it."""
    error: UserError | None = None
    failed: Fingerprint = ()
    """The files that could not be loaded."""
    seen: Fingerprint = ()
    """The files at the last look."""


class Repository:
    """The models that are served: loads new versions of them, routes requests, retires what is old.

    Args:
        models: the directory of each model, or of one version of it, by name.
        keep: newest versions of each model that are served.
        labels: the version that is meant, by model and label; labelled versions are served, too.
        limits: what a request may ask for.
        batching: how requests share calls.
        metrics: counters.
        log: of loads and failures.
    """

    def __init__(
        self,
        models: Mapping[str, Path],
        *,
        keep: int = 1,
        labels: Mapping[tuple[str, str], int] | None = None,
        limits: Limits | None = None,
        batching: Batching | None = None,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.limits = limits or Limits()
        self._models = dict(models)
        self._keep = keep
        self._labels = dict(labels or {})
        self._batching = batching or Batching()
        self._metrics = metrics
        self._log = log
        self._versions: dict[str, dict[int, _Version]] = {name: {} for name in models}
        # Two servers of one process must not share it: their batching may differ.
        self._scheduler = f"textrnn/{next(_repository_numbers)}"
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._polling: threading.Thread | None = None
        metrics.watch_queues(self._queues)

    # Requests

    @property
    def names(self) -> list[str]:
        """Of all models, whether they have a version or not."""
        return list(self._models)

    @property
    def ready(self) -> bool:
        """Every model has a version that answers, and the server is not about to end."""
        with self._lock:
            return not self._stopping.is_set() and all(map(_available, self._versions.values()))

    @contextmanager
    def acquire(
        self, name: str, *, version: int | None = None, label: str | None = None
    ) -> Iterator[Servable]:
        """A version to ask, that stays as long as it is held.

        Args:
            name: of the model.
            version: its number; None: the newest one that answers.
            label: in place of a number.

        Raises:
            Refused: there is none, in TensorFlow Serving's words.
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
            raise Refused(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        if label is not None:
            version = self._labelled(name, label)
        available = _available(self._versions.get(name, {}))
        if version is None:
            version = max(available, default=None)
            request = f"Latest({name})"
        else:
            request = f"Specific({name}, {version})"
        if version not in available:
            raise Refused(Code.NOT_FOUND, f"Servable not found for request: {request}")
        return available[version]

    def _labelled(self, name: str, label: str) -> int:
        if (name, label) not in self._labels:
            raise Refused(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return self._labels[name, label]

    def status(
        self, name: str, *, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        """How it is with the versions of a model, the newest first, or with one of them.

        Raises:
            Refused: there is none, in TensorFlow Serving's words.
        """
        if label is not None:
            version = self._labelled(name, label)
        with self._lock:
            known = dict(self._versions.get(name, {}))
            found = [_status(number, known[number]) for number in sorted(known, reverse=True)]
        if version is not None:
            found = [status for status in found if status.version == version]
            if not found:
                raise Refused(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not found:
            raise Refused(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return found

    def _queues(self) -> list[QueueLength]:
        return [
            QueueLength(servable.name, servable.version, name, signature.waiting)
            for servable in self._servables()
            for name, signature in servable.signatures.items()
        ]

    def _servables(self) -> list[Servable]:
        with self._lock:
            return [v.servable for of in self._versions.values() for v in of.values() if v.servable]

    # Versions

    def start(self, interval: float) -> None:
        """Loads what is there in a thread, and then looks for new versions every `interval` seconds."""

        def poll() -> None:
            while not self._stopping.is_set():
                self.poll()
                self._stopping.wait(interval)

        self._polling = threading.Thread(target=poll, name="versions", daemon=True)
        self._polling.start()

    def poll(self) -> None:
        """Looks once: loads the newest versions, then retires what is older.

        A version that can't be loaded leaves those before it in place. It is tried again when its files are
        others and have stopped changing.
        """
        for name, path in self._models.items():
            try:
                self._poll_model(name, versions_of(path))
            except Exception:  # the next look may go well; without looks, nothing new would ever be served
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
        """Makes a version available; whether it is."""
        with self._lock:
            version = self._versions[name].setdefault(number, _Version())
            if version.state is State.AVAILABLE:
                return True
            if version.state is State.UNLOADING:  # still in use; the next look finds it ended
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
                scheduler=self._scheduler,
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
        # Else Python looks through TensorFlow and all models again and again: every time all requests
        # would wait for 0.3 s.
        gc.freeze()
        self._metrics.load(name, number, loaded=True)
        self._log("loaded", model=name, version=number, seconds=round(time.monotonic() - began, 3))
        return True

    def _set(self, version: _Version, state: State) -> None:
        with self._lock:
            version.state = state

    def _free(self, name: str, directories: Iterable[int]) -> None:
        """Lets go of retired versions that no request holds, and forgets those whose directories are gone."""
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
            gc.collect()  # a loaded SavedModel is full of cycles
            gc.freeze()

    def stop(self) -> None:
        """Is not ready from here on; loads nothing more."""
        self._stopping.set()

    def close(self) -> None:
        """Stops whatever is still being loaded or answered."""
        self.stop()
        _close(self._servables())
        if self._polling is not None:  # Python must not end in the midst of a load
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
        with suppress(OSError):  # gone meanwhile
            facts = file.stat()
            found.append((str(file), facts.st_size, facts.st_mtime_ns))
    return tuple(found)
