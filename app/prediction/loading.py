"""Loading a predictor from a run directory or an exported SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import tensorflow as tf

from app.artifacts.files import verify_checksums
from app.artifacts.manifests import EXPORT_MANIFEST, ExportManifest, read_export_manifest
from app.artifacts.operations import check_operations
from app.artifacts.preprocessing import Facts, Preprocessing, from_description
from app.artifacts.run import MODEL, Run, open_run
from app.artifacts.saved_model import SAVED_MODEL
from app.bounds import BEAM_WIDTH
from app.collection import no_collection
from app.config import TaskConfig, config_from
from app.prediction.exchange import Note, load_signatures, runs_natively
from app.prediction.kernels import AUTO
from app.prediction.predictor import ModelInfo, Predictor
from app.tasks import TASKS, get_task
from app.tasks.signature import Signature
from data.errors import UserError

if TYPE_CHECKING:
    import keras


def load_keras_model(run: Run) -> keras.Model:
    """Return the best model of a run."""
    import keras  # an export needs no Keras

    get_task(run.task).training.register_model()
    return keras.saving.load_model(run.path / MODEL, compile=False, safe_mode=True)


@dataclass(frozen=True)
class Served:
    """What a SavedModel is made of."""

    module: tf.Module
    """Holds the tables of the signatures."""
    signatures: dict[str, Signature]
    model: keras.Model
    preprocessing: Preprocessing[Any]
    config: TaskConfig
    """Of the run, with what its training has decided."""


def build_served(run: Run, *, native: bool = False) -> Served:
    """Return preprocessing, network and decoding of a finished run as signatures.

    Args:
        run: a finished run.
        native: whether the native kernels run its recurrent layers in this process, on a CPU; else the graphs
            can be saved, and run on any host.
    """
    model = load_keras_model(run)
    model.make_portable()
    if native:
        model.use_kernels("native")
    module = tf.Module(name=run.task)
    task = get_task(run.task)
    preprocessing = run.preprocessing(task.facts)
    signatures = task.predictions.signatures(module, model, preprocessing, run.config)
    config = task.predictions.decided(model, run.config)
    return Served(module, signatures, model, preprocessing, config)


def info_of(run: Run, config: TaskConfig, preprocessing: Preprocessing[Any]) -> ModelInfo:
    """Return what a run says about its model.

    Args:
        run: a finished run.
        config: its configuration, perhaps with what its training has decided.
        preprocessing: of the run.
    """
    manifest = run.manifest
    return ModelInfo(
        where=str(run.path),
        task=run.task,
        dataset=manifest.dataset,
        dataset_hash=manifest.dataset_hash,
        data=manifest.data,
        config=config,
        preprocessing=preprocessing,
    )


def _from_run(path: Path, kernels: str, note: Note) -> Predictor:
    run = open_run(path)
    return predictor_of(run, build_served(run, native=runs_natively(path, kernels, note)))


def predictor_of(run: Run, served: Served) -> Predictor:
    """Return a predictor of a run; what is assigned to the weights of the network counts at once."""
    info = info_of(run, served.config, served.preprocessing)
    # The functions do not hold the module and the model, whose tables and weights they use: the closure does.
    signatures = {name: _by_name(own, served) for name, own in served.signatures.items()}
    return Predictor(info, signatures)


def _by_name(signature: Signature, served: Served) -> Callable[..., dict[str, tf.Tensor]]:
    """Return a function that takes the inputs by name, as a signature of a loaded SavedModel does."""
    function: Any = signature.function

    def call(*, _keep: Served = served, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = function(*(inputs[spec.name] for spec in function.input_signature))
        return outputs

    return call


def check_export(path: Path) -> ExportManifest:
    """Check that an export is complete, unchanged and safe to load. Nothing in it is run.

    Args:
        path: directory of one version.

    Returns:
        its manifest.

    Raises:
        UserError: no valid manifest, an unknown task, a changed file, or an operation that is not allowed.
    """
    manifest = read_export_manifest(path)
    if manifest.task not in TASKS:
        raise UserError(f"{path}: task {manifest.task!r} is unknown; expected one of {', '.join(TASKS)}")
    if SAVED_MODEL not in manifest.files:
        raise UserError(f"{path}: the manifest has no checksum of {SAVED_MODEL}")
    verify_checksums(path, manifest.files)
    check_operations(path)
    return manifest


def load_export(
    path: Path,
    manifest: ExportManifest,
    kernels: str = AUTO,
    *,
    whole: bool = False,
    note: Note = lambda sentence: None,
) -> Predictor:
    """Load an export that `check_export` has checked.

    Args:
        path: directory of one version.
        manifest: what `check_export` returned for it.
        kernels: as of `load_signatures`, like the other options.
        whole: whether all outputs of native kernels are compared now with the golden ones.
        note: called with a sentence about native kernels.

    Raises:
        UserError: native kernels are asked for and cannot run.
    """
    task = get_task(manifest.task)
    info = ModelInfo(
        where=str(path),
        task=manifest.task,
        dataset=manifest.dataset,
        dataset_hash=manifest.dataset_hash,
        data=manifest.data,
        config=config_from(manifest.task, manifest.config, str(path / EXPORT_MANIFEST)),
        preprocessing=_preprocessing(path, manifest, task.facts),
    )
    with no_collection():
        signatures = load_signatures(path, kernels, whole=whole, note=note)
    return Predictor(info, signatures)


def _preprocessing(path: Path, manifest: ExportManifest, facts: type[Facts]) -> Preprocessing[Facts]:
    try:
        return from_description(manifest.preprocessing, facts)
    except (pydantic.ValidationError, AttributeError, TypeError) as error:
        problem = str(error).splitlines()[0]
        raise UserError(f"{path / EXPORT_MANIFEST}: preprocessing is invalid: {problem}") from None


def with_beam(predictor: Predictor, beam: int | None) -> Predictor:
    """Return the same predictor with another beam width; None keeps the configured one.

    Raises:
        UserError: the model has no beam search, or the width is not allowed.
    """
    if beam is None:
        return predictor
    beam = BEAM_WIDTH.checked("beam", beam)
    if "search" not in predictor.signatures:
        raise UserError(f"--beam: a {predictor.info.task} model has no beam search")
    return replace(predictor, beam=beam)


def find_export(path: Path) -> Path | None:
    """Return the SavedModel at a path: the path itself, or its newest version; None if there is none."""
    if (path / SAVED_MODEL).is_file():
        return path
    versions = [p.parent for p in path.glob("*/" + SAVED_MODEL) if p.parent.name.isdecimal()]
    return max(versions, key=lambda version: int(version.name), default=None)


def load_predictor(path: Path, kernels: str = AUTO, *, note: Note = lambda sentence: None) -> Predictor:
    """Return a predictor from a run directory or an exported SavedModel.

    Args:
        path: of the run or the export.
        kernels: one of `app.prediction.kernels.KERNELS`.
        note: called with a sentence about the native kernels.

    Raises:
        UserError: it is neither, incomplete, changed, or not trusted, or native kernels are asked for and
            cannot run.
    """
    export = find_export(path)
    if export is None:
        return _from_run(path, kernels, note)
    return load_export(export, check_export(export), kernels, note=note)
