"""The golden set of an export: hard texts, and what the model answered to them when it was exported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from app.artifacts.examples import Examples, Inputs
from app.artifacts.manifests import SignatureManifest
from app.artifacts.replay import Arrays, difference, encoded

GOLDEN = Path("assets.extra", "golden.jsonl")
MAIN = "serving_default"
NOISE, SLACK = 1e-4, 10.0
"""Share by which weights are changed to see what rounding decides, a thousand times that of float32; and how
many times as far as in `verify` numbers may then be apart."""
SHORT = 100
"""Bytes of a text that all signatures are asked about; the longer ones, which take most time, only `MAIN`."""


def write_golden(
    directory: Path,
    signatures: Mapping[str, SignatureManifest],
    loaded: Any,
    examples: Mapping[str, Examples],
    texts: Mapping[str, bytes],
) -> None:
    """Asks a model each text alone, and writes down what it answers: `MAIN` all, the others the short ones.

    A case is settled unless rounding decides it, which differs in a batch and on another machine: a search
    finds two texts equally likely, or the state of a network that reads one character thousands of times
    turns chaotic (Bertschinger and Natschläger 2004), and what differed by 1e-7 differs by 1. So each case is
    asked again while all weights are a very little larger or smaller.

    Args:
        directory: of the export.
        signatures: says which inputs apply to all rows.
        loaded: the SavedModel as it is loaded from there; its weights are not what they were afterwards.
        examples: the inputs of its signatures for a text.
        texts: by their names.
    """
    cases = []
    for name in sorted(examples):
        asked = {text: value for text, value in texts.items() if name == MAIN or len(value) <= SHORT}
        for text, value in asked.items():
            inputs = examples[name]([value])
            cases.append((text, name, inputs, _asked(loaded, name, inputs)))
    unsettled = _decided_by_rounding(loaded, cases)
    path = directory / GOLDEN
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for text, name, inputs, outputs in cases:
            shared = {
                key for key, value in inputs.items() if key in signatures[name].shared or not value.shape
            }
            case = {
                "name": text,
                "signature": name,
                "settled": (text, name) not in unsettled,
                "rows": _encoded(inputs, inputs.keys() - shared),
                "shared": _encoded(inputs, shared),
                "outputs": _encoded(outputs, outputs),
            }
            file.write(json.dumps(case) + "\n")


def _asked(loaded: Any, name: str, inputs: Inputs) -> Arrays:
    fed = {key: tf.constant(value) for key, value in inputs.items()}
    return {key: value.numpy() for key, value in loaded.signatures[name](**fed).items()}


def _decided_by_rounding(
    loaded: Any, cases: Sequence[tuple[str, str, Inputs, Arrays]]
) -> set[tuple[str, str]]:
    """The cases, by text and signature, whose answers are others once the weights are a little different."""
    found: set[tuple[str, str]] = set()
    chance = np.random.default_rng(0)
    weights = [(v, v.numpy()) for v in loaded.weights if v.dtype.is_floating]
    noise = [chance.standard_normal(value.shape) for _, value in weights]
    for size in (NOISE, -NOISE):  # one of both favours the text that was not chosen
        for (variable, value), of_weight in zip(weights, noise, strict=True):
            variable.assign((value * (1 + size * of_weight)).astype(value.dtype))
        for text, name, inputs, outputs in cases:
            answer = _asked(loaded, name, inputs)
            if any(difference(answer[key], value, slack=SLACK) is None for key, value in outputs.items()):
                found.add((text, name))
    return found


def _encoded(arrays: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, Any]:
    return {name: encoded(np.asarray(arrays[name])) for name in sorted(names)}
