"""Strings in, answers out: from a run directory or an exported SavedModel alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.run import MODEL, Run, open_run, verify_checksums
from app.tasks import get_task
from app.tasks.base import Answers, Task
from data.batching import sorted_batches
from data.encoding import Texts
from data.errors import UserError
from models import classifier  # noqa: F401  (registers its layers with Keras)
from models.text import Preprocessor

EXPORT_MANIFEST = Path("assets.extra", "manifest.json")
SAVED_MODEL = "saved_model.pb"
BATCH_SIZE = 64


@dataclass(frozen=True)
class Predictor:
    """A model that answers texts."""

    task: Task
    manifest: dict[str, Any]
    answer: Callable[..., dict[str, tf.Tensor]]
    """The task's main signature: `text`, string [B], to its outputs by name."""
    text_column: str

    def __call__(self, texts: Texts, *, batch_size: int = BATCH_SIZE) -> Answers:
        """Answers in the order of the texts, which are sorted by length inside.

        Args:
            texts: UTF-8; at least one.
            batch_size: texts in one call of the model.

        Returns:
            each output of the signature as an array with a row for each text.
        """
        lengths = np.array([len(text) for text in texts])
        outputs: Answers = {}
        for rows in sorted_batches(lengths, batch_size=batch_size):
            answers = self.answer(text=tf.constant([texts[i] for i in rows], tf.string))
            for name, value in answers.items():
                array = value.numpy()
                if name not in outputs:
                    outputs[name] = np.empty((len(texts), *array.shape[1:]), array.dtype)
                outputs[name][rows] = array
        return outputs


def load_keras_model(run: Run) -> keras.Model:
    """The best model of a run."""
    return keras.saving.load_model(run.path / MODEL, compile=False, safe_mode=True)


@dataclass(frozen=True)
class Served:
    """What a SavedModel is made of."""

    module: tf.Module
    """Holds the variables and tables that the signatures read."""
    signatures: dict[str, tf.types.experimental.PolymorphicFunction]


def build_served(run: Run, *, portable: bool = False) -> Served:
    """Preprocessor, model and decoder of a run, strings in and answers out.

    Args:
        run: finished.
        portable: use no kernel that this machine has and another may lack.
    """
    preprocessor = Preprocessor(run.vocabulary(), **run.config.tokenizing())
    model = load_keras_model(run)
    if portable:
        model.recurrent.make_portable()
    module = tf.Module(name=run.task)
    module.preprocessor = preprocessor
    # A TF1 session finds variables only where the module holds tf.Variables, not Keras's own.
    module.weights = [variable.value for variable in model.variables]
    return Served(module, get_task(run.task).signatures(preprocessor, model, run.labels()))


def _from_run(path: Path) -> Predictor:
    run = open_run(path)
    task = get_task(run.task)
    signature = build_served(run).signatures[task.signature]
    return Predictor(task, run.manifest, signature, run.config.data.text_column)


def _from_export(path: Path) -> Predictor:
    try:
        manifest = json.loads((path / EXPORT_MANIFEST).read_text(encoding="utf-8"))
        task = get_task(manifest["task"])
        verify_checksums(path, manifest["files"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"{path}: no export of textrnn (it has no {EXPORT_MANIFEST} of one)") from None
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures[task.signature]

    def answer(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = signature(**inputs)
        return outputs

    answer.keep_alive = loaded  # type: ignore[attr-defined]  # the signature alone does not hold its variables
    return Predictor(task, manifest, answer, manifest["text_column"])


def load_predictor(path: Path) -> Predictor:
    """A predictor from a run directory or an exported SavedModel.

    Raises:
        UserError: it is neither, not whole, or was changed.
    """
    if (path / SAVED_MODEL).is_file():
        return _from_export(path)
    versions = sorted((p for p in path.glob("*/" + SAVED_MODEL) if p.parent.name.isdecimal()), key=_version)
    if versions:
        return _from_export(versions[-1].parent)
    return _from_run(path)


def _version(path: Path) -> int:
    return int(path.parent.name)
