"""Which rows a model trains on, is validated with, and is tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.formats import CONTINUES, Value

if TYPE_CHECKING:
    from data.prepared import Dataset

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {"valid": "validation", "dev": "validation", "val": "validation"}
ALL_SPLITS = "all"
"""The part that a single file is, which the program splits."""
TRAINING_SPLITS = ("train", "validation")


def split_of(row_hash: int, shares: Sequence[tuple[str, float]]) -> str:
    """The split of a row, by its hash alone, so that equal rows stay together.

    Args:
        row_hash: 64 bits, as `row_hash` gives.
        shares: splits and their shares, which add up to 1.
    """
    position = row_hash / 2**64
    for name, share in shares:
        if position < share:
            return name
        position -= share
    return shares[-1][0]


def row_hash(values: Mapping[str, Value]) -> int:
    """64 bits of a row's content, the same on every machine."""
    content = json.dumps(values, sort_keys=True, ensure_ascii=False).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def training_rows(
    dataset: Dataset, field: str, validation_fraction: float
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Batches of (split, rows) of all that a training sees.

    Where the data has no validation split, a share of the training rows is held out by the hash of
    their first field: the same rows in every run, equal texts on the same side. Of one text in
    pieces it is the end.

    Args:
        dataset: prepared.
        field: the first one of a row.
        validation_fraction: the share of the training rows that is held out.
    """
    shares = (("validation", validation_fraction), ("train", 1 - validation_fraction))
    for split in TRAINING_SPLITS:
        if split not in dataset.sizes:
            continue
        whole = split != "train" or "validation" in dataset.sizes
        if not whole and CONTINUES in dataset.columns:
            yield from _cut_off(dataset, field, validation_fraction)
            continue
        for batch in dataset.batches(split):
            if not whole:
                own = np.array([split_of(row_hash({field: _plain(v)}), shares) for v in batch[field]])
                for name in TRAINING_SPLITS:
                    if len(chosen := np.flatnonzero(own == name)):
                        yield name, {key: values[chosen] for key, values in batch.items()}
            else:
                yield split, batch


def _cut_off(dataset: Dataset, name: str, held_out: float) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The training rows of one text in pieces, its end for validation."""
    total = sum(len(text) for batch in dataset.batches("train") for text in batch[name])
    left = round(total * (1 - held_out))
    begun = False
    for batch in dataset.batches("train"):
        for i, text in enumerate(batch[name]):
            cut = min(max(left, 0), len(text))
            while 0 < cut < len(text) and text[cut] & 0xC0 == 0x80:  # inside a character of UTF-8
                cut -= 1
            left -= len(text)
            for split, part in (("train", text[:cut]), ("validation", text[cut:])):
                if part:
                    row = {key: values[i : i + 1].copy() for key, values in batch.items()}
                    row[name][0] = part
                    if split == "validation":
                        row[CONTINUES][0], begun = begun, True
                    yield split, row


def _plain(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(item.decode(errors="replace") for item in value)
