"""Strings in, answers out: from a run directory or an exported SavedModel alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.run import MODEL, Run, open_run, verify_checksums
from app.tasks import get_task
from app.tasks.base import Answers, Task
from data.batching import in_order, sorted_batches
from data.encoding import Texts
from data.errors import UserError

EXPORT_MANIFEST = Path("assets.extra", "manifest.json")
SAVED_MODEL = "saved_model.pb"
BATCH_SIZE = 64


@dataclass(frozen=True)
class Predictor:
    """A model that answers texts."""

    task: Task
    manifest: dict[str, Any]
    signatures: Mapping[str, Callable[..., dict[str, tf.Tensor]]]
    """Each takes its inputs by name, a row for each text, and gives its outputs by name."""
    text_column: str
    model: keras.Model | None = None
    """Of a run."""
    beam: int | None = None
    """Width of a search, where it shall not be the run's own."""

    def __call__(self, texts: Texts, *, batch_size: int = BATCH_SIZE) -> Answers:
        """Answers of the task's main signature in the order of the texts.

        Args:
            texts: UTF-8; at least one.
            batch_size: texts in one call of the model.

        Returns:
            each output of the signature as an array with a row for each text.
        """
        lengths = np.array([len(text) for text in texts])
        return self.run(self.task.signature, {"text": texts}, lengths, batch_size=batch_size)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Sequence[Any] | np.ndarray],
        lengths: np.ndarray,
        *,
        batch_size: int = BATCH_SIZE,
        options: Mapping[str, tf.Tensor] | None = None,
    ) -> Answers:
        """Calls a signature on rows, sorted by length inside, and puts the answers in order.

        Args:
            signature: its name.
            inputs: rows by the name of the input; sequences are padded with empty strings.
            lengths: int [rows], what a row costs.
            batch_size: rows of a call.
            options: inputs that are the same for all rows.

        Returns:
            each output as an array with a row for each row; outputs of different widths are padded with
            zeros or empty strings.
        """
        call = self.signatures[signature]
        parts: dict[str, list[np.ndarray]] = {}
        batches = sorted_batches(lengths, batch_size=batch_size)
        for rows in batches:
            fed = {name: _tensor([values[i] for i in rows]) for name, values in inputs.items()}
            for name, value in call(**fed, **(options or {})).items():
                parts.setdefault(name, []).append(value.numpy())
        order = np.concatenate(batches)
        return {name: in_order(arrays, order) for name, arrays in parts.items()}


def _tensor(values: list[Any]) -> tf.Tensor:
    if isinstance(values[0], str | bytes | int | float | np.number):
        return tf.constant(values)
    return tf.ragged.constant(values, ragged_rank=1, dtype=tf.string).to_tensor(b"")


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
    manifest = run.manifest | serving_facts(run)
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


def with_beam(predictor: Predictor, beam: int | None) -> Predictor:
    """The same predictor with another width of its search; None leaves it.

    Raises:
        UserError: the model does not search.
    """
    if beam is None:
        return predictor
    if "search" not in predictor.signatures:
        raise UserError(f"--beam: a model for {predictor.task.name} does not search for its answers")
    return replace(predictor, beam=beam)


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
