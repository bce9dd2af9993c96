"""The golden set of an export: hard texts, and the outputs of the model when it was exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.artifacts.examples import Examples, Inputs
from app.artifacts.manifests import SignatureManifest
from app.artifacts.replay import Arrays, difference, encoded
from app.json_text import dumps

GOLDEN = Path("assets.extra", "golden.jsonl")
MAIN = "serving_default"
NOISE, SLACK = 1e-4, 10.0
"""Relative change of the weights that finds outputs which depend on rounding, a thousand times the rounding
of float32; and how much larger than in `verify` the tolerance is for it."""
SHORT = 100
"""Largest size in bytes of texts for all signatures; longer ones, which are slow, only `MAIN` gets."""


def write_golden(
    directory: Path,
    signatures: Mapping[str, SignatureManifest],
    loaded: Any,
    examples: Mapping[str, Examples],
    texts: Mapping[str, bytes],
) -> None:
    """Call a model with one text at a time, and write its outputs to the golden set.

    `MAIN` gets all texts, the other signatures get the short ones.

    A case is settled unless its outputs depend on rounding, which differs between batches and between
    machines: a search finds two texts equally likely, or the state of a network that reads one character
    thousands of times is chaotic (Bertschinger and Natschläger 2004), so that a difference of 1e-7 grows
    to 1. Each case is therefore computed again with all weights slightly larger and slightly smaller.

    Args:
        directory: of the export.
        signatures: say which inputs apply to all rows of a call.
        loaded: the SavedModel loaded from there. Its weights are changed.
        examples: make the inputs of each signature from texts.
        texts: by name.
    """
    cases = []
    for name in sorted(examples):
        chosen = {text: value for text, value in texts.items() if name == MAIN or len(value) <= SHORT}
        for text, value in chosen.items():
            inputs = examples[name]([value])
            cases.append((text, name, inputs, _outputs(loaded, name, inputs)))
    unsettled = _decided_by_rounding(loaded, cases)
    path = directory / GOLDEN
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for text, name, inputs, outputs in cases:
            shared = set(signatures[name].shared)
            case = {
                "name": text,
                "signature": name,
                "settled": (text, name) not in unsettled,
                "rows": _encoded(inputs, inputs.keys() - shared),
                "shared": _encoded(inputs, shared),
                "outputs": _encoded(outputs, outputs),
            }
            file.write(dumps(case) + "\n")


def _outputs(loaded: Any, name: str, inputs: Inputs) -> Arrays:
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    return {key: value.numpy() for key, value in loaded.signatures[name](**tensors).items()}


def _decided_by_rounding(
    loaded: Any, cases: Sequence[tuple[str, str, Inputs, Arrays]]
) -> set[tuple[str, str]]:
    """Return the cases, by text and signature, whose outputs change with slightly different weights."""
    found: set[tuple[str, str]] = set()
    generator = np.random.default_rng(0)
    weights = [(v, v.numpy()) for v in loaded.weights if v.dtype.is_floating]
    noise = [generator.standard_normal(value.shape) for _, value in weights]
    for size in (NOISE, -NOISE):  # one of the two favours the text that was not chosen
        for (variable, value), of_weight in zip(weights, noise, strict=True):
            variable.assign((value * (1 + size * of_weight)).astype(value.dtype))
        for text, name, inputs, outputs in cases:
            changed = _outputs(loaded, name, inputs)
            if any(difference(changed[key], value, slack=SLACK) is None for key, value in outputs.items()):
                found.add((text, name))
    return found


def _encoded(arrays: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, Any]:
    return {name: encoded(np.asarray(arrays[name])) for name in sorted(names)}
