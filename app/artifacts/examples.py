"""What each signature of a model may be asked about given texts, with nothing but the model itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from app.tasks.base import Task

Signatures = Mapping[str, Callable[..., Mapping[str, tf.Tensor]]]
"""Each takes its inputs by name, and gives its outputs by name."""
Inputs = dict[str, np.ndarray]
"""Of a signature, by name."""
Examples = Callable[[Sequence[bytes]], Inputs]
"""From texts, any bytes and at least one, to the inputs of a signature."""


def examples(
    task: Task[Any], signatures: Signatures, takes: Mapping[str, Collection[str]]
) -> dict[str, Examples]:
    """For each signature a function from texts to inputs, as `Task.examples` knows them.

    Args:
        task: of the model.
        signatures: of the model. One that others follow is called to make their inputs.
        takes: the names of each signature's inputs.

    Returns:
        by the name of the signature.
    """
    return {name: functools.partial(_inputs, task, signatures, takes, name) for name in takes}


def _inputs(
    task: Task[Any],
    signatures: Signatures,
    takes: Mapping[str, Collection[str]],
    name: str,
    texts: Sequence[bytes],
) -> Inputs:
    found = task.examples(name, texts)
    if before := task.follows.get(name):
        asked = _inputs(task, signatures, takes, before, texts)
        outputs = signatures[before](**{key: tf.constant(value) for key, value in asked.items()})
        found |= {key: value.numpy() for key, value in outputs.items()}
    return {key: found[key] for key in takes[name]}
