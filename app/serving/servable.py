"""One loaded version of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from app.artifacts.manifests import ExportManifest, SignatureManifest, read_export_manifest
from app.artifacts.saved_model import SAVED_MODEL, read_saved_model
from app.artifacts.warmup import read_warmup
from app.prediction.exchange import Note
from app.prediction.kernels import AUTO
from app.prediction.loading import check_export, load_export
from app.prediction.predictor import Predictor
from app.serving.batching import Batcher
from app.serving.calls import Budget
from app.serving.drift import Drift
from app.serving.errors import Code, Refused
from app.serving.metrics import Metrics
from app.serving.options import Batching, Limits
from app.serving.signature import CAPPED, DEFAULT_SIGNATURE, Signature, tensor_infos
from app.serving.steps import STEPS, Steps
from app.tasks import get_task
from data.errors import UserError

INITIALIZER = "__saved_model_init_op"
"""Entry among the signatures of a SavedModel that is not a signature."""


@dataclass(frozen=True)
class Servable:
    """A version of a model that takes requests."""

    name: str
    version: int
    path: Path
    manifest: ExportManifest
    predictor: Predictor
    signatures: Mapping[str, Signature]
    signature_defs: Mapping[str, SignatureDef]
    """As in the SavedModel, the initializer included."""
    steps: Steps | None = None
    """Of streamed texts; None: the model does not stream."""

    @property
    def task(self) -> str:
        """Name of its task."""
        return self.manifest.task

    @property
    def generates(self) -> bool:
        """Whether `:generate` can stream texts from it."""
        return self.steps is not None

    def signature(self, name: str) -> Signature:
        """Return a signature by name; for an empty name, the default one.

        Raises:
            Refused: there is no such signature.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise Refused(Code.FAILED_PRECONDITION, unknown_signature(self, name))
        return self.signatures[name]

    def waiting(self) -> dict[str, int]:
        """Return the rows that are queued or running by signature; those of streamed texts as `streams`."""
        streams = {} if self.steps is None else {"streams": self.steps.waiting}
        return {name: signature.waiting for name, signature in self.signatures.items()} | streams

    def close(self) -> None:
        """Cancel queued and running calls."""
        for signature in self.signatures.values():
            signature.close()
        if self.steps is not None:
            self.steps.close()


def unknown_signature(servable: Servable, name: str) -> str:
    """Return the error message for the name of a signature that a model does not have."""
    return f"signature {name!r} not found; the model has {', '.join(sorted(servable.signatures))}"


def load_servable(
    name: str,
    version: int,
    path: Path,
    *,
    limits: Limits,
    batching: Batching,
    metrics: Metrics,
    budget: Budget,
    kernels: str = AUTO,
    note: Note = lambda sentence: None,
) -> Servable:
    """Check an export, load it and run its warm-up requests.

    Args:
        name: of the model.
        version: its number.
        path: directory of the version.
        limits: largest requests.
        batching: dynamic batching.
        metrics: records the size of each call.
        budget: what the calls of long rows of all models may cost.
        kernels: one of `app.prediction.kernels.KERNELS`; native ones are compared with the whole golden set.
        note: called with a sentence about the kernels.

    Raises:
        UserError: the directory is not an export, is incomplete or changed, has operations that are not
            allowed, its warm-up fails, or native kernels are asked for and cannot run.
    """
    manifest = check_export(path)
    predictor = load_export(path, manifest, kernels, whole=True, note=note)
    definitions = dict(read_saved_model(path).meta_graphs[0].signature_def)

    def batcher(key: str, shared: Sequence[str] = (), *, shared_calls: bool = True) -> Batcher:
        return Batcher(
            predictor.signatures[key],
            _specs(definitions[key].outputs),
            batching=batching,
            budget=budget,
            values=limits.values,
            observe=partial(metrics.batch, name, key),
            shared=shared,
            shared_calls=shared_calls,
        )

    monitoring = get_task(manifest.task).predictions.monitoring
    drift = None
    if monitoring is not None:
        drift = Drift(metrics.drift, monitoring, manifest, predictor, model=name, version=version)
    signatures = {}
    for key, definition in sorted(definitions.items()):
        if key == INITIALIZER:
            continue
        described = _described(manifest, key, path)
        specs = _specs(definition.inputs)
        shared = [n for n, spec in specs.items() if not spec.shape.rank or n in described.shared]
        calls = batcher(key, shared, shared_calls=described.batched)
        count = drift.count if drift and drift.watches(key, definition.outputs) else None
        signatures[key] = Signature(key, definition, calls, described, limits, count)
    steps = Steps(batcher) if signatures.keys() >= set(STEPS) else None
    servable = Servable(name, version, path, manifest, predictor, signatures, definitions, steps)
    try:
        _warm(servable)
    except Refused as error:
        servable.close()
        raise UserError(f"{path}: a warm-up request failed: {error.message}") from None
    if drift:
        metrics.drift.watch(drift)
    return servable


def _described(manifest: ExportManifest, signature: str, path: Path) -> SignatureManifest:
    found = manifest.signatures.get(signature)
    if found is None:
        raise UserError(f"{path}: signature {signature!r} is not listed in the manifest")
    if unknown := sorted(set(found.limited) - set(CAPPED)):
        raise UserError(
            f"{path}: signature {signature!r} has the limited input {unknown[0]!r}; this version of the "
            f"server limits {', '.join(CAPPED)} only"
        )
    return found


def _specs(infos: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(info.shape, info.dtype, name) for name, info in tensor_infos(infos).items()}


def _warm(servable: Servable) -> None:
    for signature in servable.signatures.values():
        signature.warm()
    for request in read_warmup(servable.path):
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        servable.signature(request.model_spec.signature_name).warm(inputs)


def versions_of(path: Path) -> dict[int, Path]:
    """Return the version directories of a model: its subdirectories, or the directory itself.

    Raises:
        UserError: the directory is a version whose number is in neither its name nor its manifest.
    """
    if (path / SAVED_MODEL).is_file():
        name = path.resolve().name
        version = int(name) if name.isdecimal() else read_export_manifest(path).version
        return {version: path}
    try:
        found = [p for p in path.iterdir() if p.name.isdecimal() and p.is_dir()]
    except OSError:  # the directory is missing: versions that are loaded stay
        return {}
    return {int(p.name): p for p in found}
