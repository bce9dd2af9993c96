"""Datasets as token ids on disk: encoded once for each dataset and configuration of the text."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.artifacts.files import new_directory
from app.config import TaskConfig
from app.tasks.base import ExampleBatch, Task
from app.tasks.labels import SEQUENCE, label_counts
from data.encoding import Encoded, TokenizedBatch, encode, load_encoded
from data.errors import UserError
from data.prepared import Dataset
from data.scan import Scan
from data.splits import training_examples

ENCODING_VERSION = 8
LONGEST = "longest"
LARGEST_TEXT = 50_000
"""Maximum number of bytes that are kept of the longest training text."""


def _key(dataset: Dataset, config: TaskConfig) -> str:
    content = json.dumps(
        [
            ENCODING_VERSION,
            dataset.hash,
            config.text.model_dump(),
            config.data.validation_fraction,
        ],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()


def encode_dataset(
    dataset: Dataset, task: Task[Any, Any], config: TaskConfig, directory: Path
) -> tuple[Encoded, bytes]:
    """Return the training and validation examples of a dataset as token ids, and the longest training text.

    Args:
        dataset: prepared.
        task: tokenizes the examples.
        config: resolved.
        directory: caches the encoded dataset.

    Raises:
        UserError: nothing can be learned from the examples.
    """
    path = directory / "encoded" / f"{task.name}-{_key(dataset, config)}"
    longest = b""
    first = task.examples.fields(config)[0].name

    def read() -> Iterator[tuple[str, ExampleBatch]]:
        return training_examples(dataset, first, config.data.validation_fraction)

    def rows() -> Iterator[TokenizedBatch]:
        nonlocal longest
        for split, batch in read():
            if split == "train":
                longest = max([longest, *map(_joined, batch[first])], key=len)
            yield TokenizedBatch(split, *plan.tokenize(batch))

    if not path.exists():
        plan = task.examples.plan(
            dataset,
            config,
            lambda: (rows for split, rows in read() if split == "train"),
        )
        # If another process was quicker, its encoded dataset is the same.
        with contextlib.suppress(FileExistsError), new_directory(path) as partial:
            encode(
                rows(),
                vocabulary_of=plan.vocabulary_of,
                rules=plan.rules,
                facts=plan.facts,
                directory=partial,
            )
            (partial / LONGEST).write_bytes(longest[:LARGEST_TEXT])
            found = _scan(load_encoded(partial), dataset)
            for problem in task.examples.check(found):
                raise UserError(f"{dataset.name}: {problem.sentence()}")
            if not found.examples["validation"]:
                raise UserError(
                    f"{dataset.name}: no example is left for validation; add examples or a validation "
                    "split, or increase data.validation_fraction"
                )
    return load_encoded(path), (path / LONGEST).read_bytes()


def _joined(value: Any) -> bytes:
    """Return a text, or tokens joined to one."""
    return value if isinstance(value, bytes) else b" ".join(value)


def _scan(encoded: Encoded, dataset: Dataset) -> Scan:
    """Return the sizes and labels of the splits, which of a catalogue dataset are not known before."""
    found = Scan()
    for name, split in encoded.splits.items():
        found.examples[name] = len(split)
        if (counts := label_counts(encoded, dataset, name)) is not None:
            found.names.setdefault("label", {})[name] = counts
        found.several_labels |= SEQUENCE in split.sequences
    return found
