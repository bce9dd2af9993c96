"""Exports whose answers say which version gave them, written in a moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from app.artifacts.files import checksums, new_directory

ROWS = tf.TensorSpec([None], tf.string, "text")
FOREVER = 2**31 - 1


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
        seal(directory, {"task": task, "version": version, "text_column": "text", "batched": list(batched)})
    return path


def seal(directory: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write the manifest, with the checksums of the files as they are."""
    path = directory / "assets.extra/manifest.json"
    path.parent.mkdir(exist_ok=True)
    known = facts if facts is not None else json.loads(path.read_text())
    path.write_text(json.dumps({**known, "files": checksums(directory)}))
