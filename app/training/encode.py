"""Datasets as token ids on disk: encoded once for each dataset and configuration of the text."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import new_directory
from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig
from app.tasks.base import ExampleBatch, Task
from app.training.unknown import check_unknown
from data.batching import Batches, made_ahead, row_costs
from data.encoding import Encoded, TokenizedBatch, encode, load_encoded
from data.findings import Finding
from data.prepared import Dataset
from data.splits import ALL_SPLITS, TRAINING_SPLITS
from models.kernels.cpus import available_cpus

ENCODING_VERSION = 10
UNLABELLED = "unlabelled"
"""Split of the texts without labels."""
LONGEST = "longest"
LARGEST_TEXT = 50_000
"""Maximum number of bytes that are kept of the longest training text."""
TOKENIZED_EXAMPLES = 256
"""Most examples that a core tokenizes at once."""
TOKENIZED_BYTES = 2**21
"""Size of the texts that all cores together tokenize at once: tokens take much more memory than texts."""


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
    cores = available_cpus()
    first = task.examples.fields(config)[0].name

    def training() -> Iterator[ExampleBatch]:
        nonlocal longest
        for batch in dataset.batches("train", TOKENIZED_EXAMPLES):
            longest = max([longest, *map(_joined, batch[first])], key=len)
            yield batch

    def rows() -> Iterator[TokenizedBatch]:
        splits: dict[str, Iterator[ExampleBatch]] = {
            "train": training(),
            "validation": dataset.batches("validation", TOKENIZED_EXAMPLES),
        }
        if unlabelled:
            splits[UNLABELLED] = _without_held_out(unlabelled, dataset, first)
        for split, batches in splits.items():
            parts = _parts(batches, TOKENIZED_BYTES // cores)
            with contextlib.closing(
                made_ahead(plan.tokenize, parts, ahead=cores, threads=cores)
            ) as tokenized:
                for sequences, columns in tokenized:
                    yield TokenizedBatch(split, sequences, columns)

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


def _parts(batches: Iterable[ExampleBatch], size: int) -> Iterator[ExampleBatch]:
    """Yield the examples of batches in parts of not much more than `size` in cost, see `row_costs`."""
    for batch in batches:
        ends = np.flatnonzero(np.diff(np.cumsum(row_costs(batch)) // size)) + 1
        for rows in np.split(np.arange(len(next(iter(batch.values())))), ends):
            yield {name: values[rows] for name, values in batch.items()}


def _without_held_out(unlabelled: Dataset, dataset: Dataset, name: str) -> Iterator[ExampleBatch]:
    """Yield batches of the texts that are neither in the validation nor in the test split of a dataset."""
    held_out = np.concatenate(
        [
            np.zeros(0, np.uint64),
            *(
                _hashes(batch[name])
                for split in ("validation", "test")
                if split in dataset.sizes
                for batch in dataset.batches(split)
            ),
        ]
    )
    held_out.sort()
    for batch in unlabelled.batches(ALL_SPLITS, TOKENIZED_EXAMPLES):
        hashes = _hashes(batch[name])
        places = np.searchsorted(held_out, hashes)
        kept = held_out.take(places, mode="clip") != hashes if len(held_out) else np.ones(len(hashes), bool)
        if kept.any():
            yield {field: values[kept] for field, values in batch.items()}


def _hashes(texts: Iterable[bytes]) -> np.ndarray:
    """Return 64 bits of the hash of each text: uint64 [texts]."""
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)


def _joined(value: Any) -> bytes:
    """Return a text, or tokens joined to one."""
    return value if isinstance(value, bytes) else b" ".join(value)
