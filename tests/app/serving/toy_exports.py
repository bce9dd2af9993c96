"""Exports whose outputs name the version that computed them; quick to write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from app.artifacts.files import checksums, new_directory
from app.artifacts.manifests import EXPORT_MANIFEST
from app.artifacts.saved_model import described_signatures

ROWS = tf.TensorSpec([None], tf.string, "text")
FOREVER = 2**31 - 1
FACTS = {"tagging": {"tag_scheme": "BIO"}, "generation": {"documents_end": True}}


def signatures_of(version: int) -> dict[str, Any]:
    """Return functions: one for batches, and `slow`, whose `length` says how long it takes."""

    @tf.function(input_signature=[ROWS], autograph=False)
    def default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_none_equal(text, b"bad", message="a bad text")]):
            return {"text": tf.strings.upper(text), "version": tf.fill(tf.shape(text), version)}

    @tf.function(
        input_signature=[
            ROWS,
            tf.TensorSpec([None], tf.int32, "length"),
            tf.TensorSpec([None], tf.string, "stop"),
        ],
        autograph=False,
    )
    def slow(text: tf.Tensor, length: tf.Tensor, stop: tf.Tensor) -> dict[str, tf.Tensor]:
        most = tf.reduce_max(length)
        steps = tf.while_loop(lambda i: i < most, lambda i: [i + 1], [0], parallel_iterations=1)[0]
        return {
            "text": tf.strings.join([text, tf.strings.reduce_join(stop)]),
            "steps": tf.fill(tf.shape(text), steps),
        }

    return {"serving_default": default, "slow": slow}


def write_version(
    model: Path,
    version: int,
    *,
    task: str = "generation",
    signatures: Mapping[str, Any] | None = None,
    batched: Sequence[str] = ("serving_default",),
) -> Path:
    """Write an export, whole at once as `textrnn export` does."""
    path = model / str(version)
    with new_directory(path) as directory:
        tf.saved_model.save(tf.Module(), str(directory), signatures=signatures or signatures_of(version))
        seal(directory, facts(task, version, described_signatures(directory), batched))
    return path


def facts(
    task: str, version: int, signatures: Mapping[str, Any], batched: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a manifest without checksums."""
    return {
        "format": 1,
        "task": task,
        "dataset": "toys",
        "dataset_hash": "0",
        "data": None,
        "versions": {},
        "seed": 0,
        "parameters": 0,
        "version": version,
        "config": {},
        "preprocessing": {"facts": FACTS.get(task, {})},
        "signatures": {
            name: {
                **tensors,
                "batched": name in batched,
                "shared": [
                    key for key, (_, shape) in tensors["inputs"].items() if not shape or key == "stop"
                ],
                "limited": [key for key in ("length", "width") if key in tensors["inputs"]],
            }
            for name, tensors in signatures.items()
        },
    }


def seal(directory: Path, manifest: Mapping[str, Any] | None = None) -> None:
    """Write the manifest, with the checksums of the files as they are."""
    path = directory / EXPORT_MANIFEST
    path.parent.mkdir(exist_ok=True)
    known = manifest if manifest is not None else json.loads(path.read_text())
    path.write_text(json.dumps({**known, "files": checksums(directory)}))
