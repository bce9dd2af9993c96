"""A dataset as token ids on disk, made once for each dataset and way of reading text."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from app.config import Config
from app.run import new_directory
from app.tasks.base import Task
from data.encoding import Encoded, Texts, UniqueTokens, encode, load_encoded
from data.errors import UserError
from data.prepared import Dataset, Scan
from data.sources import row_hash, split_of
from models.text import SPECIAL_TOKENS, UNKNOWN_ID, unique_tokens

ENCODING_VERSION = 3
TRAINING_SPLITS = ("train", "validation")


def training_rows(
    dataset: Dataset, task: Task, config: Config, labels: Sequence[str]
) -> Iterator[tuple[str, Texts, np.ndarray]]:
    """Batches of (split, texts, targets) of the rows that a training sees.

    Where the data has no validation split, a share of the training rows is held out by the hash of
    their texts: the same rows in every run, equal texts on the same side.
    """
    text = task.fields(config)[0].name
    held_out = config.data.validation_fraction
    shares = (("validation", held_out), ("train", 1 - held_out))
    for split in TRAINING_SPLITS:
        if split not in dataset.sizes:
            continue
        for batch in dataset.batches(split):
            texts, targets = batch[text], task.targets(batch, dataset, labels)
            if split == "train" and "validation" not in dataset.sizes:
                own = np.array(
                    [split_of(row_hash({text: t.decode(errors="replace")}), shares) for t in texts]
                )
                for name in TRAINING_SPLITS:
                    if len(chosen := np.flatnonzero(own == name)):
                        yield name, texts[chosen], targets[chosen]
            else:
                yield split, texts, targets


def _key(dataset: Dataset, config: Config) -> str:
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


def encode_dataset(dataset: Dataset, task: Task, config: Config, directory: Path) -> Encoded:
    """The training and validation rows of a dataset as token ids.

    Args:
        dataset: prepared.
        task: says what a row's target is.
        config: resolved.
        directory: keeps what was encoded, for the next run over the same data.

    Raises:
        UserError: nothing can be learned from the rows.
    """
    path = directory / "encoded" / f"{task.name}-{_key(dataset, config)}"
    if not path.exists():
        options = config.tokenizing()
        graph = tf.function(
            lambda texts: unique_tokens(texts, **options),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

        def cut(texts: Texts) -> UniqueTokens:
            distinct, positions, lengths = (t.numpy() for t in graph(tf.constant(texts, tf.string)))
            return distinct, positions, lengths

        # Another process may be quicker: what it encoded is the same.
        with contextlib.suppress(FileExistsError), new_directory(path) as beside:
            encode(
                training_rows(dataset, task, config, dataset.labels),
                unique_tokens=cut,
                special=SPECIAL_TOKENS,
                unknown_id=UNKNOWN_ID,
                most=config.text.vocabulary_size,
                min_count=config.text.min_count,
                directory=beside,
            )
            found = _scan(load_encoded(beside), dataset.labels)
            task.check(found)
            if not found.rows["validation"]:
                raise UserError(
                    f"{dataset.name}: no row is left to validate with; give more rows, or a "
                    "validation split, or a larger data.validation_fraction"
                )
    return load_encoded(path)


def _scan(encoded: Encoded, labels: Sequence[str]) -> Scan:
    """What a catalogue's rows, that no scan read before, turn out to be."""
    found = Scan()
    for name, split in encoded.splits.items():
        found.rows[name] = len(split)
        if labels:
            counts = np.bincount(split.targets.reshape(-1), minlength=len(labels))
            found.labels[name] = Counter({labels[i]: int(n) for i, n in enumerate(counts) if n})
    return found
