"""Prepared datasets: a user's rows, or a catalogue's, as TensorFlow Datasets on disk, read as a stream."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data.catalogue import prepare_catalogue
from data.errors import UserError
from data.readers import EMPTY_LINE, BadRow, Field, Row
from data.sources import SPLIT_ALIASES, SPLITS, CatalogueName, Source, row_hash, split_of

FORMAT_VERSION = "1.0.0"
FILE_SHARES = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
SHARD_CHARACTERS = 32 << 20
ALL_SPLITS = "all"


@dataclass
class Scan:
    """What one pass over the rows of a source found, before anything is written."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows of each split."""
    characters: Counter[str] = field(default_factory=Counter)
    """Of all values of each split."""
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """How often each label stands in each split; empty for tasks without labels."""


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, whose rows are read in order and in batches, never all at once."""

    name: str
    hash: str
    """sha256 of the content and the columns, or the catalogue's name, version and columns."""
    sizes: Mapping[str, int]
    """Rows of each split."""
    labels: tuple[str, ...]
    """Class names; a label id is a position."""
    builder: Any
    columns: Mapping[str, str]
    """Field name to feature name."""
    splits: Mapping[str, str]
    """Split name to the builder's own name for it."""

    def batches(self, split: str, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """Rows in their order.

        Args:
            split: one of `sizes`, or `all`.
            size: rows of a batch; the last one may be smaller.

        Yields:
            for each field an array [size]: bytes objects for a text, int64 for a label (-1: not given).
        """
        import tensorflow_datasets as tfds

        names = list(self.splits.values()) if split == ALL_SPLITS else [self.splits[split]]
        for name in names:
            rows = self.builder.as_dataset(
                split=name,
                shuffle_files=False,
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                decoders=tfds.decode.PartialDecoding(dict.fromkeys(self.columns.values(), True)),
            )
            for batch in rows.batch(size).prefetch(2).as_numpy_iterator():
                yield {name: batch[column] for name, column in self.columns.items()}

    def size(self, split: str) -> int:
        """Rows of a split, or of `all`.

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


def rows_by_split(source: Source) -> Iterator[tuple[str, str, Row | BadRow]]:
    """All rows of a source as (split, where, row); a single file's by the hash of its content."""
    for part_name, part in source.parts.items():
        for row in part.rows():
            split = part_name
            if part_name == ALL_SPLITS:
                split = split_of(row_hash(row.values), FILE_SHARES) if isinstance(row, Row) else "train"
            yield split, part.where, row


def _good_rows(source: Source) -> Iterator[tuple[str, Row]]:
    for split, where, row in rows_by_split(source):
        if isinstance(row, Row):
            yield split, row
        elif row.reason != EMPTY_LINE:
            raise UserError(f"{where}:{row.line}: {row.reason}; 'textrnn datasets check' lists all such rows")


def scan(source: Source, fields: Sequence[Field]) -> Scan:
    """Reads all rows once and counts them.

    Raises:
        UserError: a row can't be read, or a file has none.
    """
    found = Scan(labels={})
    label = next((f.name for f in fields if f.kind == "label"), None)
    for split, row in _good_rows(source):
        found.rows[split] += 1
        found.characters[split] += sum(map(len, row.values.values()))
        if label:
            found.labels.setdefault(split, Counter())[row.values[label]] += 1
    for name, part in source.parts.items():
        if not found.rows[name] and (name != ALL_SPLITS or not found.rows):
            raise UserError(f"{part.where}: no rows; expected at least one")
    return found


def _fingerprint(source: Source, fields: Sequence[Field]) -> str:
    columns = [(f.name, f.kind, f.column) for f in fields]
    content = json.dumps([FORMAT_VERSION, columns, sorted(source.parts), source.digest()])
    return hashlib.sha256(content.encode()).hexdigest()


def _features(fields: Sequence[Field], found: Scan) -> Any:
    import tensorflow_datasets as tfds

    names = sorted(set().union(*found.labels.values()))
    return tfds.features.FeaturesDict(
        {
            f.name: tfds.features.ClassLabel(names=names) if f.kind == "label" else tfds.features.Text()
            for f in fields
        }
    )


def _shards(source: Source, split: str, found: Scan) -> list[Callable[[], Iterator[Any]]]:
    """What gives the rows of each file of a split, called one behind the other.

    TensorFlow Datasets holds the rows of the file that it writes in memory, so that one for all would need
    more than the whole dataset: see `ShardWriter.write`, and `Shuffler` for other builders.
    """
    own = {split: source.parts[split]} if split in source.parts else source.parts
    rows = enumerate(row.values for name, row in _good_rows(replace(source, parts=own)) if name == split)
    count = min(-(-found.characters[split] // SHARD_CHARACTERS) or 1, found.rows[split])
    size = -(-found.rows[split] // count)
    return [lambda: itertools.islice(rows, size)] * -(-found.rows[split] // size)


def _write(source: Source, fields: Sequence[Field], found: Scan, fingerprint: str, directory: Path) -> None:
    import tensorflow_datasets as tfds

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        name = source.name
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=fingerprint, version=FORMAT_VERSION)]

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description="Rows of a user's own files.",
                features=_features(fields, found),
                disable_shuffling=True,
            )

        def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable[[], Iterator[Any]]]]:
            return {split: _shards(source, split, found) for split in SPLITS if found.rows[split]}

    builder = Builder(data_dir=directory, file_format="tfrecord")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.suppress(FileExistsError):  # another process was quicker: its result is the same
        builder.download_and_prepare(download_config=config)


def _from_builder(
    name: str, builder: Any, dataset_hash: str, fields: Sequence[Field], columns: Mapping[str, str]
) -> Dataset:
    known = {SPLIT_ALIASES.get(split, split): split for split in builder.info.splits}
    splits = {split: known[split] for split in SPLITS if split in known}
    label = next((columns[f.name] for f in fields if f.kind == "label"), None)
    return Dataset(
        name=name,
        hash=dataset_hash,
        sizes={split: builder.info.splits[own].num_examples for split, own in splits.items()},
        labels=tuple(builder.info.features[label].names) if label else (),
        builder=builder,
        columns=columns,
        splits=splits,
    )


def prepare(
    source: Source | CatalogueName,
    fields: Sequence[Field],
    *,
    directory: Path,
    manual_directory: Path | None = None,
    check: Callable[[Scan], None] = lambda found: None,
) -> Dataset:
    """The dataset of a source, made on disk if it is not there yet.

    Args:
        source: where the rows are.
        fields: what the task needs of a row.
        directory: holds prepared datasets.
        manual_directory: raw files of a catalogue dataset that need not be downloaded.
        check: may refuse what was found (raising UserError) before anything is written.

    Raises:
        UserError: rows that can't be read, or a catalogue dataset that can't be had or used.
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
        found = scan(source, fields)
        check(found)
        with contextlib.redirect_stdout(io.StringIO()):  # "Downloading and preparing": nothing is downloaded
            _write(source, fields, found, fingerprint, directory)
    builder = tfds.builder_from_directory(path)
    return _from_builder(source.name, builder, fingerprint, fields, {f.name: f.name for f in fields})
