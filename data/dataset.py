"""Datasets on disk, in the format of TensorFlow Datasets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.errors import UserError
from data.formats import BadRow, Field, Row, Value
from data.splits import ALL_SPLITS, SPLIT_ALIASES, SPLITS

_ALIGNED = ("tokens", "tags")
"""The kinds of fields that have a value for each token; words may be missing in all of an example."""


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, whose examples are read in order, one batch at a time."""

    name: str
    hash: str
    """sha256 of the content and the columns, or of the catalogue's name, version and columns."""
    sizes: Mapping[str, int]
    """Number of examples of each split."""
    names: Mapping[str, tuple[str, ...]]
    """Names of the labels or tags of a field; an id is a position."""
    builder: Any
    columns: Mapping[str, str]
    """Field name to feature name."""
    splits: Mapping[str, str]
    """Split name to the builder's name of the split."""
    assigned: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By the builder's name of a split whose examples are in several splits: for each example the position of
    its split in `SPLITS`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why a split is not used."""
    layout: tuple[str, ...] = ()
    """Sentences: which files are which split, how they are written, and which are not read."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: the layout and warnings."""

    def batches(self, split: str, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """Yield batches of examples, in order.

        Args:
            split: one of `sizes`, or `all`.
            size: maximum number of examples of a batch.

        Yields:
            for each field an array [size]: bytes objects for a text, int64 for a label (-1: no label), bool
            for a flag. For labels, tokens, tags and words it is an array of objects, each the array of one
            example.
        """
        for name in self.sizes if split == ALL_SPLITS else [split]:
            yield from self._batches(name, size)

    def _batches(self, split: str, size: int) -> Iterator[dict[str, np.ndarray]]:
        import tensorflow_datasets as tfds

        stored = self.splits[split]
        assigned = self.assigned.get(stored)
        examples = self.builder.as_dataset(
            split=stored,
            shuffle_files=False,
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            decoders=self._decoders(),
        )
        position = 0
        for batch in examples.ragged_batch(size).prefetch(2):
            arrays = {name: _array(batch[column]) for name, column in self.columns.items()}
            if assigned is None:
                yield arrays
                continue
            codes = assigned[position : position + size]
            position += size
            own = np.flatnonzero(codes == SPLITS.index(split))
            if len(own):
                yield {name: array[own] for name, array in arrays.items()}

    def _decoders(self) -> Any:
        """Return decoders that skip the columns that are not needed, which may be images."""
        import tensorflow_datasets as tfds

        # Partial decoding needs a plain FeaturesDict; a Translation, which is a subclass, has texts only.
        if type(self.builder.info.features) is not tfds.features.FeaturesDict:
            return None
        return tfds.decode.PartialDecoding(dict.fromkeys(self.columns.values(), True))

    def size(self, split: str) -> int:
        """Return the number of examples of a split, or of `all`.

        Raises:
            UserError: there is no such split.
        """
        if split == ALL_SPLITS:
            return sum(self.sizes.values())
        if split not in self.sizes:
            why = f" ({self.left_out[split]})" if split in self.left_out else ""
            raise UserError(
                f"{self.name} has no split {split!r}{why}; there is {', '.join([*self.sizes, ALL_SPLITS])}"
            )
        return self.sizes[split]


def _array(values: Any) -> np.ndarray:
    """Return a column of a batch; a ragged one as an array of arrays."""
    if not hasattr(values, "row_splits"):
        array: np.ndarray = values.numpy()
        return array
    flat, ends = values.values.numpy(), values.row_splits.numpy()
    rows = np.empty(len(ends) - 1, object)
    rows[:] = [flat[start:end] for start, end in itertools.pairwise(ends)]
    return rows


def from_builder(
    name: str, builder: Any, dataset_hash: str, fields: Sequence[Field], columns: Mapping[str, str]
) -> Dataset:
    """Return the dataset of a builder of TensorFlow Datasets.

    Args:
        name: of the dataset.
        builder: whose examples are on disk.
        dataset_hash: identifies them.
        fields: that the task needs of an example.
        columns: the feature of each field.
    """
    known = {SPLIT_ALIASES.get(split, split): split for split in builder.info.splits}
    splits = {split: known[split] for split in SPLITS if split in known}
    named = [f for f in fields if f.kind in ("label", "labels", "tags") and f.name in columns]
    return Dataset(
        name=name,
        hash=dataset_hash,
        sizes={split: builder.info.splits[own].num_examples for split, own in splits.items()},
        names={f.name: tuple(_class_names(builder.info.features[columns[f.name]])) for f in named},
        builder=builder,
        columns=columns,
        splits=splits,
    )


def _class_names(feature: Any) -> list[str]:
    names: list[str] = getattr(feature, "feature", feature).names
    return names


def rows_of(dataset: Dataset, fields: Sequence[Field], split: str) -> Iterator[Row | BadRow]:
    """Yield the examples of a split as a reader of files does; a row has no label if its id is -1."""
    line = 0
    for batch in dataset.batches(split):
        present = [f for f in fields if f.name in batch]
        for values in zip(*(batch[f.name] for f in present), strict=True):
            line += 1
            found = {
                f.name: plain
                for f, value in zip(present, values, strict=True)
                if (plain := _plain(f, value, dataset)) is not None
            }
            lengths = {
                f.name: len(value) for f, value in zip(present, values, strict=True) if f.kind in _ALIGNED
            }
            if len(set(lengths.values())) > 1:
                sizes = ", ".join(f"{size} {name}" for name, size in lengths.items())
                yield BadRow(line, f"misaligned: {sizes}")
            else:
                yield Row(line, found)


def _plain(field: Field, value: Any, dataset: Dataset) -> Value | None:
    """Return a stored value as a reader of files returns it; None: there is no value."""
    if field.kind in ("tokens", "words"):
        return tuple(token.decode(errors="replace") for token in value)
    if field.kind in ("tags", "labels"):
        return tuple(dataset.names[field.name][i] for i in value)
    if field.kind == "label":
        return dataset.names[field.name][value] if value >= 0 else None
    return bool(value) if field.kind == "flag" else str(value.decode(errors="replace"))
