"""Load a predictor from a run directory or an export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from app.artifacts.files import verify_checksums
from app.artifacts.manifests import ExportManifest, read_export_manifest
from app.artifacts.operations import check_operations
from app.artifacts.run import MODEL, Run, open_run
from app.artifacts.saved_model import SAVED_MODEL
from app.prediction.predictor import Predictor
from app.tasks import TASKS, get_task
from data.errors import UserError


def load_keras_model(run: Run) -> keras.Model:
    """Load the best model of a run."""
    get_task(run.task).register_model()
    return keras.saving.load_model(run.path / MODEL, compile=False, safe_mode=True)


@dataclass(frozen=True)
class Served:
    """What a SavedModel is made of."""

    module: tf.Module
    """Holds the tables that the signatures use."""
    signatures: dict[str, tf.types.experimental.PolymorphicFunction]
    model: keras.Model


def build_served(run: Run) -> Served:
    """Return preprocessor, model and decoder of a finished run as functions of strings, for any host."""
    task = get_task(run.task)
    model = load_keras_model(run)
    model.make_portable()
    module = tf.Module(name=run.task)
    return Served(module, task.signatures(module, model, run.vocabularies(), run.config), model)


def _from_run(path: Path) -> Predictor:
    run = open_run(path)
    served = build_served(run)
    column = run.config.data.text_column
    manifest = run.manifest | {
        "labels": [label.decode() for label in run.vocabularies().get("labels", [])],
        "decoding": run.config.decoding.model_dump(),
    }
    signatures = {name: _by_name(function) for name, function in served.signatures.items()}
    return Predictor(get_task(run.task), manifest, signatures, column, served.model)


def _by_name(function: Any) -> Callable[..., dict[str, tf.Tensor]]:
    """Return a function of keyword arguments, as the signatures of a loaded SavedModel are."""

    def call(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = function(*(inputs[spec.name] for spec in function.input_signature))
        return outputs

    return call


def open_export(path: Path) -> ExportManifest:
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


def load_export(path: Path, manifest: ExportManifest) -> Predictor:
    """Load an export that `open_export` has checked.

    Args:
        path: directory of one version.
        manifest: what `open_export` returned for it.
    """
    loaded = tf.saved_model.load(str(path))
    # A signature alone does not keep its variables alive: the default argument does.
    signatures = {
        name: lambda _loaded=loaded, _name=name, **inputs: _loaded.signatures[_name](**inputs)
        for name in loaded.signatures
    }
    facts = {
        "labels": manifest.preprocessing.get("labels", []),
        "decoding": manifest.config.get("decoding", {}),
    }
    return Predictor(get_task(manifest.task), facts, signatures, manifest.text_column)


def find_export(path: Path) -> Path | None:
    """Return the SavedModel at a path: the path itself, or the newest version in it; None if neither."""
    if (path / SAVED_MODEL).is_file():
        return path
    versions = [p.parent for p in path.glob("*/" + SAVED_MODEL) if p.parent.name.isdecimal()]
    return max(versions, key=lambda version: int(version.name), default=None)


def load_predictor(path: Path) -> Predictor:
    """Load a predictor from a run directory or an export.

    The operations of an export are checked before it is loaded.

    Raises:
        UserError: the path is neither, or its files are incomplete, changed or not safe to load.
    """
    export = find_export(path)
    return load_export(export, open_export(export)) if export else _from_run(path)
