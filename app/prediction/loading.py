"""A predictor from what lies on disk: a run directory or an exported SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from app.artifacts.files import verify_checksums
from app.artifacts.run import MODEL, Run, open_run
from app.artifacts.saved_model import SAVED_MODEL
from app.prediction.predictor import Predictor
from app.tasks import get_task
from data.errors import UserError

EXPORT_MANIFEST = Path("assets.extra", "manifest.json")


def load_keras_model(run: Run) -> keras.Model:
    """The best model of a run."""
    get_task(run.task).register_model()
    return keras.saving.load_model(run.path / MODEL, compile=False, safe_mode=True)


@dataclass(frozen=True)
class Served:
    """What a SavedModel is made of."""

    module: tf.Module
    """Holds the tables that the signatures read."""
    signatures: dict[str, tf.types.experimental.PolymorphicFunction]
    model: keras.Model


def build_served(run: Run) -> Served:
    """Preprocessor, model and decoder of a finished run, strings in and answers out, for any host."""
    task = get_task(run.task)
    model = load_keras_model(run)
    model.make_portable()
    module = tf.Module(name=run.task)
    return Served(module, task.signatures(module, model, run.vocabularies(), run.config), model)


def serving_facts(run: Run) -> dict[str, Any]:
    """What one needs to know of a model to ask it: the labels it was trained with, how it searches."""
    return {
        "labels": [label.decode() for label in run.vocabularies().get("labels", [])],
        "decoding": run.config.decoding.model_dump(),
    }


def _from_run(path: Path) -> Predictor:
    run = open_run(path)
    served = build_served(run)
    column = run.config.data.text_column
    manifest = run.manifest.model_dump() | serving_facts(run)
    signatures = {name: _by_name(function) for name, function in served.signatures.items()}
    return Predictor(get_task(run.task), manifest, signatures, column, served.model)


def _by_name(function: Any) -> Callable[..., dict[str, tf.Tensor]]:
    """Calls a function of a signature with the names of its inputs, as a loaded SavedModel is called."""

    def call(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = function(*(inputs[spec.name] for spec in function.input_signature))
        return outputs

    return call


def _from_export(path: Path) -> Predictor:
    try:
        manifest = json.loads((path / EXPORT_MANIFEST).read_text(encoding="utf-8"))
        task = get_task(manifest["task"])
        verify_checksums(path, manifest["files"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{path}: no export of textrnn (it has no {EXPORT_MANIFEST} of one)") from None
    loaded = tf.saved_model.load(str(path))
    # A signature alone does not hold its variables: the default argument does.
    signatures = {
        name: lambda _loaded=loaded, _name=name, **inputs: _loaded.signatures[_name](**inputs)
        for name in loaded.signatures
    }
    return Predictor(task, manifest, signatures, manifest["text_column"])


def find_export(path: Path) -> Path | None:
    """The SavedModel at a path: the path itself, or the newest of the versions in it; None: neither."""
    if (path / SAVED_MODEL).is_file():
        return path
    versions = [p.parent for p in path.glob("*/" + SAVED_MODEL) if p.parent.name.isdecimal()]
    return max(versions, key=lambda version: int(version.name), default=None)


def load_predictor(path: Path) -> Predictor:
    """A predictor from a run directory or an exported SavedModel.

    Raises:
        UserError: it is neither, not whole, or was changed.
    """
    export = find_export(path)
    return _from_export(export) if export else _from_run(path)
