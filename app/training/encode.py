"""Datasets as token ids on disk: encoded once for each dataset and configuration of the text."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import new_directory
from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig
from app.tasks.base import Task
from app.training.unknown import check_unknown
from data.batching import Batches
from data.encoding import Encoded, TokenizedBatch, encode, load_encoded
from data.findings import Finding
from data.prepared import Dataset
from data.splits import ALL_SPLITS, TRAINING_SPLITS

ENCODING_VERSION = 10
UNLABELLED = "unlabelled"
"""Split of the texts without labels."""
LONGEST = "longest"
LARGEST_TEXT = 50_000
"""Maximum number of bytes that are kept of the longest training text."""


@dataclass(frozen=True)
class TrainingData:
    """All that training reads."""

    encoded: Encoded
    longest: bytes
    """The longest training text."""
    preprocessing: Preprocessing[Any]
    batches: dict[str, Batches]
    """By split: train and validation."""
    warnings: tuple[Finding, ...]
    """What is odd about the tokens."""
    directory: Path
    """Has the encoded examples, and keeps what is computed from them."""


def encode_and_batch(
    dataset: Dataset,
    task: Task[Any, Any],
    config: TaskConfig,
    directory: Path,
    unlabelled: Dataset | None = None,
    kept: Preprocessing[Any] | None = None,
) -> TrainingData:
    """Return a dataset as training reads it.

    The data check calls it too: what it refuses depends on tokens, and cannot be seen before.

    Args:
        dataset: prepared.
        task: tokenizes the examples.
        config: resolved, except for the number of epochs.
        directory: caches the encoded dataset.
        unlabelled: texts without labels.
        kept: of a model that training starts from, see `Examples.plan`.

    Raises:
        UserError: nothing can be learned from the examples.
    """
    encoded, longest = encode_dataset(dataset, task, config, directory, unlabelled, kept)
    examples = task.examples
    preprocessing = examples.preprocessing(encoded, dataset, config, kept)
    warnings = tuple(check_unknown(encoded, preprocessing, examples, config))
    batches = {split: examples.batches(encoded, split, preprocessing, config) for split in TRAINING_SPLITS}
    path = _path(dataset, task, config, directory, unlabelled, kept)
    return TrainingData(encoded, longest, preprocessing, batches, warnings, path)


def _path(
    dataset: Dataset,
    task: Task[Any, Any],
    config: TaskConfig,
    directory: Path,
    unlabelled: Dataset | None,
    kept: Preprocessing[Any] | None,
) -> Path:
    content = [ENCODING_VERSION, dataset.hash, config.text.model_dump()]
    if unlabelled:
        content.append(unlabelled.hash)
    if kept is not None:
        content.append(kept.hash())
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return directory / "encoded" / f"{task.name}-{key}"


def encode_dataset(
    dataset: Dataset,
    task: Task[Any, Any],
    config: TaskConfig,
    directory: Path,
    unlabelled: Dataset | None = None,
    kept: Preprocessing[Any] | None = None,
) -> tuple[Encoded, bytes]:
    """Return the training and validation examples of a dataset as token ids, and the longest training text.

    Texts without labels are a further split, `unlabelled`. They add nothing to the vocabulary. Those that
    equal a validation or test text are left out.

    Args:
        dataset: prepared.
        task: tokenizes the examples.
        config: resolved.
        directory: caches the encoded dataset.
        unlabelled: texts without labels, in the first field.
        kept: of a model that training starts from, see `Examples.plan`.

    Raises:
        UserError: nothing can be learned from the examples.
    """
    from models.text.patterns import WORD_RULES

    path = _path(dataset, task, config, directory, unlabelled, kept)
    longest = b""
    first = task.examples.fields(config)[0].name

    def rows() -> Iterator[TokenizedBatch]:
        nonlocal longest
        for split in TRAINING_SPLITS:
            for batch in dataset.batches(split):
                if split == "train":
                    longest = max([longest, *map(_joined, batch[first])], key=len)
                yield TokenizedBatch(split, *plan.tokenize(batch))
        if unlabelled:
            for batch in _without_held_out(unlabelled, dataset, first):
                yield TokenizedBatch(UNLABELLED, *plan.tokenize(batch))

    existed = path.exists()  # another process may write it after this
    if (found := _stored(path)) is not None:
        return found
    if existed:  # with files missing or damaged
        shutil.rmtree(path, ignore_errors=True)
    plan = task.examples.plan(dataset, config, lambda: dataset.batches("train"), kept)
    # If another process was quicker, its encoded dataset is the same.
    with contextlib.suppress(FileExistsError), new_directory(path) as partial:
        encode(
            rows(),
            vocabulary_of=plan.vocabulary_of,
            rules=plan.rules,
            facts={**plan.facts, "word_rules": WORD_RULES},
            directory=partial,
        )
        (partial / LONGEST).write_bytes(longest[:LARGEST_TEXT])
    return load_encoded(path), (path / LONGEST).read_bytes()


def _stored(path: Path) -> tuple[Encoded, bytes] | None:
    """Return an encoded dataset and its longest text; None if a file is missing or cut off."""
    try:
        return load_encoded(path), (path / LONGEST).read_bytes()
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _without_held_out(unlabelled: Dataset, dataset: Dataset, name: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches of the texts that are neither in the validation nor in the test split of a dataset."""
    held_out = {
        _digest(text)
        for split in ("validation", "test")
        if split in dataset.sizes
        for batch in dataset.batches(split)
        for text in batch[name]
    }
    for batch in unlabelled.batches(ALL_SPLITS):
        kept = np.array([_digest(text) not in held_out for text in batch[name]], bool)
        if kept.any():
            yield {field: values[kept] for field, values in batch.items()}


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _joined(value: Any) -> bytes:
    """Return a text, or tokens joined to one."""
    return value if isinstance(value, bytes) else b" ".join(value)
