"""Prepared datasets: examples of a user's files or of the catalogue as TensorFlow Datasets on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.catalogue import prepare_catalogue
from data.errors import UserError
from data.findings import Finding
from data.formats import NAMED, Field
from data.scan import ExampleValidator, Scan, Spool, scan
from data.shards import write_shards
from data.sources import CatalogueName, Source
from data.splits import ALL_SPLITS, SPLIT_ALIASES, SPLITS, Splitting

FORMAT_VERSION = "1.2.0"
"""Version of prepared datasets. A change of how examples are split or stored needs a new one."""


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
    notes: tuple[str, ...] = ()
    """Sentences for the user: how the files are written, what was left out, warnings."""

    def batches(self, split: str, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """Yield batches of examples, in order.

        Args:
            split: one of `sizes`, or `all`.
            size: examples of a batch; the last one may be smaller.

        Yields:
            for each field an array [size]: bytes objects for a text, int64 for a label (-1: no label), bool
            for a flag. For labels, tokens and tags it is an array of objects, each the array of one example.
        """
        import tensorflow_datasets as tfds

        names = list(self.splits.values()) if split == ALL_SPLITS else [self.splits[split]]
        for name in names:
            examples = self.builder.as_dataset(
                split=name,
                shuffle_files=False,
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                decoders=self._decoders(),
            )
            for batch in examples.ragged_batch(size).prefetch(2):
                yield {name: _array(batch[column]) for name, column in self.columns.items()}

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
            raise UserError(
                f"{self.name} has no split {split!r}; there is {', '.join([*self.sizes, ALL_SPLITS])}"
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


def _fingerprint(source: Source, fields: Sequence[Field]) -> str:
    columns = [(f.name, f.kind, f.column, f.separator, f.one_hot) for f in fields]
    content = json.dumps([FORMAT_VERSION, columns, sorted(source.parts), source.digest()])
    return hashlib.sha256(content.encode()).hexdigest()


def _from_builder(
    name: str, builder: Any, dataset_hash: str, fields: Sequence[Field], columns: Mapping[str, str]
) -> Dataset:
    known = {SPLIT_ALIASES.get(split, split): split for split in builder.info.splits}
    splits = {split: known[split] for split in SPLITS if split in known}
    named = [f for f in fields if f.kind in NAMED and f.name in columns]
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


def prepare(
    source: Source | CatalogueName,
    fields: Sequence[Field],
    *,
    directory: Path,
    manual_directory: Path | None = None,
    splitting: Splitting | None = None,
    check: Callable[[Scan], Iterable[Finding]] = lambda found: (),
    validator: ExampleValidator | None = None,
) -> Dataset:
    """Return the dataset of a source, which is written to disk if it is not there yet.

    Args:
        source: of the examples.
        fields: the fields that the task needs of an example.
        directory: contains prepared datasets.
        manual_directory: raw files of a catalogue dataset that need not be downloaded.
        splitting: how examples that have no split get one.
        check: returns errors that follow from the counts of the examples, before anything is written.
        validator: sees each example of files.

    Raises:
        UserError: rows cannot be read, or a catalogue dataset is not available or not suitable.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    if isinstance(source, CatalogueName):
        with contextlib.redirect_stdout(sys.stderr):
            builder, columns = prepare_catalogue(source.name, fields, directory, manual_directory)
        identity = f"{builder.info.full_name} {json.dumps(columns, sort_keys=True)}"
        digest = hashlib.sha256(identity.encode()).hexdigest()
        return _from_builder(builder.name, builder, digest, fields, columns)
    fingerprint = _fingerprint(source, fields)
    path = directory / source.name / fingerprint / FORMAT_VERSION
    if not (path / "dataset_info.json").exists():
        with Spool(directory) as spool:
            found = scan(source, fields, validator or ExampleValidator(), spool)
            if problems := [*found.problems, *check(found)]:
                raise UserError(problems[0].sentence())
            # "Downloading and preparing" would be misleading: nothing is downloaded.
            with contextlib.redirect_stdout(io.StringIO()):
                write_shards(
                    spool,
                    fields,
                    found,
                    name=source.name,
                    fingerprint=fingerprint,
                    version=FORMAT_VERSION,
                    directory=directory,
                )
    builder = tfds.builder_from_directory(path)
    return _from_builder(
        source.name, builder, fingerprint, fields, {name: name for name in builder.info.features}
    )
