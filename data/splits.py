"""Splits: which examples a model is trained on, validated on and tested on.

- A file that is named after a split is that split.
- A single file of records is split by the hash of the first field: equal texts stay together, and an example
  keeps its split when others are added.
- A single file that is one text is split by position.
- If there is no validation split, a share of the training examples is held out by the same rules.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from data.formats import CONTINUES, BadRow, Row, Value

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {"valid": "validation", "dev": "validation", "val": "validation"}
ALL_SPLITS = "all"
"""Name of the only part of a single file, which the program splits."""
TRAINING_SPLITS = ("train", "validation")
Mode = Literal["hash", "random", "stratified"]


@dataclass(frozen=True)
class Splitting:
    """How examples that have no split get one."""

    mode: Mode = "hash"
    """`hash`: by the text alone; `random`: by the text and the seed; `stratified`: also with the same share
    of each label in every split. Examples with the same text are always in one split."""
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0


FILE_SHARES = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
"""Shares of the examples of a single file."""
POSITION_SHARES = (("train", 0.9), ("validation", 0.05), ("test", 0.05))
"""Shares of the characters of a single text."""


class RowPart(Protocol):
    """Interface of `data.sources.Part`."""

    @property
    def where(self) -> str:
        """Path or name, for messages."""

    @property
    def rows(self) -> Callable[[], Iterator[tuple[str, Row | BadRow]]]:
        """Function that returns an iterator over the rows, each with the path of its file."""


class RowSource(Protocol):
    """Interface of `data.sources.Source`."""

    @property
    def parts(self) -> Mapping[str, RowPart]:
        """Parts by split, or one part `all`."""

    @property
    def by_position(self) -> bool:
        """Whether `all` is one text."""

    @property
    def key(self) -> str:
        """The field whose value decides the split of a row of `all`."""


class PreparedDataset(Protocol):
    """Interface of `data.prepared.Dataset`."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of examples of each split."""

    @property
    def columns(self) -> Mapping[str, str]:
        """Columns by field."""

    def batches(self, split: str) -> Iterator[dict[str, np.ndarray]]:
        """Yield batches of the examples of a split."""


def split_of(row_hash: int, shares: Sequence[tuple[str, float]]) -> str:
    """Return the split of a row, by its hash alone, so that rows of equal hash stay together.

    Args:
        row_hash: 64 bits, from `row_hash`.
        shares: splits and their shares, which sum to 1.
    """
    position = row_hash / 2**64
    for name, share in shares:
        if position < share:
            return name
        position -= share
    return shares[-1][0]


def split_by_field(values: Mapping[str, Value], field: str, shares: Sequence[tuple[str, float]]) -> str:
    """Return the split of a row, by the hash of one field.

    The other fields have no influence: copies of a text with different labels or translations are in one
    split, so that a model is not tested on texts that it was trained on.
    """
    return split_of(row_hash({field: values[field]}), shares)


def row_hash(values: Mapping[str, Value]) -> int:
    """Return 64 bits of a row's content, the same on every machine."""
    content = json.dumps(values, sort_keys=True, ensure_ascii=False).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def rows_by_split(source: RowSource) -> Iterator[tuple[str, str, Row | BadRow]]:
    """Yield all rows of a source as (split, where, row).

    A single file of records is split by the hash of the first field, a single text by position.
    """
    for part_name, part in source.parts.items():
        if part_name == ALL_SPLITS and source.by_position:
            yield from _by_position(part)
            continue
        for where, row in part.rows():
            split = part_name
            if part_name == ALL_SPLITS:
                split = (
                    "train"
                    if isinstance(row, BadRow)
                    else split_by_field(row.values, source.key, FILE_SHARES)
                )
            yield split, where, row


def _by_position(part: RowPart) -> Iterator[tuple[str, str, Row | BadRow]]:
    """Yield the pieces of one text, divided where a split ends; each split begins a new text."""
    total = sum(len(row.text()) for _, row in part.rows() if isinstance(row, Row))
    ends = [round(total * share) for share in itertools.accumulate(share for _, share in POSITION_SHARES)]
    splits = [name for name, _ in POSITION_SHARES]
    place, position, begun = 0, 0, ""
    for where, row in part.rows():
        if isinstance(row, BadRow):
            yield splits[place], where, row
            continue
        text = row.text()
        while text:
            own, text = text[: ends[place] - position], text[ends[place] - position :]
            position += len(own)
            if own:
                values = {**row.values, "text": own, CONTINUES: begun == splits[place]}
                begun = splits[place]
                yield splits[place], where, Row(row.line, values)
            if text:
                place += 1


def training_examples(
    dataset: PreparedDataset, field: str, validation_fraction: float
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield (split, batch) for the training and validation examples.

    If the data has no validation split, a share of the training examples is held out by the hash of the
    first field: the same examples in every run, and equal texts in the same split. If the examples are pieces
    of one text, its end is held out.

    Args:
        dataset: prepared.
        field: name of the first field of an example.
        validation_fraction: share of the training examples that is held out.
    """
    shares = (("validation", validation_fraction), ("train", 1 - validation_fraction))
    for split in TRAINING_SPLITS:
        if split not in dataset.sizes:
            continue
        whole = split != "train" or "validation" in dataset.sizes
        if not whole and CONTINUES in dataset.columns:
            yield from _hold_out_end(dataset, field, validation_fraction)
            continue
        for batch in dataset.batches(split):
            if not whole:
                own = np.array([split_by_field({field: _plain(v)}, field, shares) for v in batch[field]])
                for name in TRAINING_SPLITS:
                    if len(chosen := np.flatnonzero(own == name)):
                        yield name, {key: values[chosen] for key, values in batch.items()}
            else:
                yield split, batch


def _hold_out_end(
    dataset: PreparedDataset, name: str, held_out: float
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield (split, batch) for the pieces of one text, with its end as the validation split."""
    total = sum(len(text) for batch in dataset.batches("train") for text in batch[name])
    left = round(total * (1 - held_out))
    begun = False
    for batch in dataset.batches("train"):
        for i, text in enumerate(batch[name]):
            end = min(max(left, 0), len(text))
            while 0 < end < len(text) and text[end] & 0xC0 == 0x80:  # inside a character of UTF-8
                end -= 1
            left -= len(text)
            for split, part in (("train", text[:end]), ("validation", text[end:])):
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
