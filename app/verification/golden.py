"""The golden set of an export: hard texts, and what the model answered to them when it was exported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.examples import Examples, Signatures
from app.tasks.base import Task
from app.verification.alone import encoded

GOLDEN = Path("assets.extra", "golden.jsonl")
MAIN = "serving_default"
SHORT = 100
"""Bytes of a text that all signatures are asked about; the longer ones, which take most time, only `MAIN`."""


def write_golden(
    directory: Path,
    task: Task,
    signatures: Signatures,
    examples: Mapping[str, Examples],
    texts: Mapping[str, bytes],
) -> None:
    """Asks a model each text alone, and writes down what it answers: `MAIN` all, the others the short ones.

    Args:
        directory: of the export.
        task: knows which inputs are options that all rows share.
        signatures: of the SavedModel as it is loaded from there.
        examples: their inputs for a text.
        texts: by their names.
    """
    path = directory / GOLDEN
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for name in sorted(examples):
            asked = {text: value for text, value in texts.items() if name == MAIN or len(value) <= SHORT}
            for text, inputs in ((text, examples[name]([value])) for text, value in asked.items()):
                fed = {key: tf.constant(value) for key, value in inputs.items()}
                outputs = {key: value.numpy() for key, value in signatures[name](**fed).items()}
                shared = {key for key, value in inputs.items() if key in task.options or not value.shape}
                case = {
                    "name": text,
                    "signature": name,
                    "rows": _encoded(inputs, inputs.keys() - shared),
                    "shared": _encoded(inputs, shared),
                    "outputs": _encoded(outputs, outputs),
                }
                file.write(json.dumps(case) + "\n")


def _encoded(arrays: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, Any]:
    return {name: encoded(np.asarray(arrays[name])) for name in sorted(names)}
