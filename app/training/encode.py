"""A dataset as token ids on disk, made once for each dataset and way of reading text."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import new_directory
from app.config import Config
from app.tasks.base import RowBatch, Task
from data.encoding import Encoded, Rows, encode, load_encoded
from data.errors import UserError
from data.prepared import Dataset, Scan
from data.splits import training_rows

ENCODING_VERSION = 6
LONGEST = "longest"
LARGEST_TEXT = 50_000
"""Bytes of the longest training text that are kept: of a corpus in one piece, its beginning."""


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


def encode_dataset(dataset: Dataset, task: Task, config: Config, directory: Path) -> tuple[Encoded, bytes]:
    """The training and validation rows of a dataset as token ids, and the longest text to train on.

    Args:
        dataset: prepared.
        task: says how a row is cut.
        config: resolved.
        directory: keeps what was encoded, for the next run over the same data.

    Raises:
        UserError: nothing can be learned from the rows.
    """
    path = directory / "encoded" / f"{task.name}-{_key(dataset, config)}"
    longest = b""
    first = task.fields(config)[0].name

    def read() -> Iterator[tuple[str, RowBatch]]:
        return training_rows(dataset, first, config.data.validation_fraction)

    def rows() -> Iterator[Rows]:
        nonlocal longest
        for split, batch in read():
            if split == "train":
                longest = max([longest, *map(_joined, batch[first])], key=len)
            yield Rows(split, *plan.cut(batch))

    if not path.exists():
        plan = task.plan(
            dataset,
            config,
            lambda: (rows for split, rows in read() if split == "train"),
        )
        # Another process may be quicker: what it encoded is the same.
        with contextlib.suppress(FileExistsError), new_directory(path) as beside:
            encode(
                rows(),
                vocabulary_of=plan.vocabulary_of,
                rules=plan.rules,
                learned=plan.learned,
                directory=beside,
            )
            (beside / LONGEST).write_bytes(longest[:LARGEST_TEXT])
            found = _scan(load_encoded(beside), dataset)
            task.check(found)
            if not found.rows["validation"]:
                raise UserError(
                    f"{dataset.name}: no row is left to validate with; give more rows, or a "
                    "validation split, or a larger data.validation_fraction"
                )
    return load_encoded(path), (path / LONGEST).read_bytes()


def _joined(value: Any) -> bytes:
    """A text, or tokens as one."""
    return value if isinstance(value, bytes) else b" ".join(value)


def _scan(encoded: Encoded, dataset: Dataset) -> Scan:
    """What a catalogue's rows, that no scan read before, turn out to be."""
    found = Scan()
    for name, split in encoded.splits.items():
        found.rows[name] = len(split)
        if "label" in split.columns and (labels := dataset.names.get("label")):
            counts = np.bincount(split.columns["label"], minlength=len(labels))
            own = Counter({labels[i]: int(n) for i, n in enumerate(counts) if n})
            found.names.setdefault("label", {})[name] = own
    return found
