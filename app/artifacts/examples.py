"""Example inputs of each signature of a model, made from given texts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from app.artifacts.manifests import SignatureManifest

Functions = Mapping[str, Callable[..., Mapping[str, tf.Tensor]]]
"""Signatures by name; each takes its inputs by name and returns its outputs by name."""
Inputs = dict[str, np.ndarray]
"""Inputs of a signature by name."""
Examples = Callable[[Sequence[bytes]], Inputs]
"""Maps texts, any bytes and at least one, to the inputs of a signature."""


class HasExamples(Protocol):
    """The part of a task that makes example inputs."""

    def examples(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return inputs of a signature made from texts; more than it takes is allowed."""


def examples(
    task: HasExamples, functions: Functions, signatures: Mapping[str, SignatureManifest]
) -> dict[str, Examples]:
    """Return for each signature a function from texts to its inputs.

    Args:
        task: of the model.
        functions: of the model. One that another signature follows is called to compute inputs of that one.
        signatures: description of each.

    Returns:
        functions by the name of the signature.
    """
    return {name: functools.partial(_inputs, task, functions, signatures, name) for name in signatures}


def _inputs(
    task: HasExamples,
    functions: Functions,
    signatures: Mapping[str, SignatureManifest],
    name: str,
    texts: Sequence[bytes],
) -> Inputs:
    found = task.examples(name, texts)
    if before := signatures[name].follows:
        inputs = _inputs(task, functions, signatures, before, texts)
        outputs = functions[before](**{key: tf.constant(value) for key, value in inputs.items()})
        found |= {key: value.numpy() for key, value in outputs.items()}
    return {key: found[key] for key in signatures[name].inputs}
