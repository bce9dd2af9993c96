"""Inputs for each signature of a model from given texts, to try a model out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from app.artifacts.manifests import SignatureManifest

Signatures = Mapping[str, Callable[..., Mapping[str, tf.Tensor]]]
"""Each takes its inputs by name, and returns its outputs by name."""
Inputs = dict[str, np.ndarray]
"""Inputs of a signature by name."""
SampleInputs = Callable[[str, Sequence[bytes]], Mapping[str, np.ndarray]]
"""From a signature's name and texts to its inputs, but for the outputs of the signature that it follows."""
Examples = Callable[[Sequence[bytes]], Inputs]
"""From texts, any bytes and at least one, to the inputs of a signature."""


def examples(
    sample_inputs: SampleInputs, signatures: Signatures, manifests: Mapping[str, SignatureManifest]
) -> dict[str, Examples]:
    """Return a function from texts to inputs for each signature.

    Args:
        sample_inputs: of the task.
        signatures: of the model. One that others follow is called to make their inputs.
        manifests: inputs of each signature, and which one it follows.

    Returns:
        by the name of the signature.
    """
    return {
        name: functools.partial(_inputs, sample_inputs, signatures, manifests, name) for name in manifests
    }


def _inputs(
    sample_inputs: SampleInputs,
    signatures: Signatures,
    manifests: Mapping[str, SignatureManifest],
    name: str,
    texts: Sequence[bytes],
) -> Inputs:
    found = dict(sample_inputs(name, texts))
    if before := manifests[name].follows:
        inputs = _inputs(sample_inputs, signatures, manifests, before, texts)
        outputs = signatures[before](**{key: tf.constant(value) for key, value in inputs.items()})
        found |= {key: value.numpy() for key, value in outputs.items()}
    return {key: found[key] for key in manifests[name].inputs}
