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
from data.formats import EMPTY_LINE, Field, Row, Value
from data.sources import CatalogueName, Source
from data.splits import ALL_SPLITS, SPLIT_ALIASES, SPLITS, rows_by_split

FORMAT_VERSION = "1.2.0"
"""Of prepared datasets. A change of how rows are split or stored needs a new one."""
SHARD_CHARACTERS = 32 << 20


@dataclass
class Scan:
    """What one pass over the rows of a source found, before anything is written."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows of each split."""
    characters: Counter[str] = field(default_factory=Counter)
    """Of all values of each split."""
    names: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """How often each label or tag stands in each split, by field."""
    present: Counter[str] = field(default_factory=Counter)
    """Rows that have each field."""

    def labels(self, name: str = "label") -> dict[str, Counter[str]]:
        """How often each name of a field stands in each split; empty if no row has the field."""
        return self.names.get(name, {})


class Watch:
    """Is shown each row of a source before anything is written; this one lets all pass."""

    def row(self, where: str, row: Row) -> None:
        """The next row of a file; may refuse it with a UserError."""

    def finish(self) -> None:
        """After the last row; may refuse them all."""


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, whose rows are read in order and in batches, never all at once."""

    name: str
    hash: str
    """sha256 of the content and the columns, or the catalogue's name, version and columns."""
    sizes: Mapping[str, int]
    """Rows of each split."""
    names: Mapping[str, tuple[str, ...]]
    """Of each field of labels or tags; an id is a position."""
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
            for each field an array [size]: bytes objects for a text, int64 for a label (-1: not given),
            bool for a flag; for tokens and tags an array of objects, each an array of one row's.
        """
        import tensorflow_datasets as tfds

        names = list(self.splits.values()) if split == ALL_SPLITS else [self.splits[split]]
        for name in names:
            rows = self.builder.as_dataset(
                split=name,
                shuffle_files=False,
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                decoders=self._decoders(),
            )
            for batch in rows.ragged_batch(size).prefetch(2):
                yield {name: _array(batch[column]) for name, column in self.columns.items()}

    def _decoders(self) -> Any:
        """Reads the columns that are needed alone; others may be images."""
        import tensorflow_datasets as tfds

        # Only a plain FeaturesDict can be read in part; a Translation, which is another, holds texts alone.
        if type(self.builder.info.features) is not tfds.features.FeaturesDict:
            return None
        return tfds.decode.PartialDecoding(dict.fromkeys(self.columns.values(), True))

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


def _array(values: Any) -> np.ndarray:
    """A column of a batch; ragged ones as an array of the rows' arrays."""
    if not hasattr(values, "row_splits"):
        array: np.ndarray = values.numpy()
        return array
    flat, ends = values.values.numpy(), values.row_splits.numpy()
    rows = np.empty(len(ends) - 1, object)
    rows[:] = [flat[start:end] for start, end in itertools.pairwise(ends)]
    return rows


def _good_rows(source: Source) -> Iterator[tuple[str, str, Row]]:
    for split, where, row in rows_by_split(source):
        if isinstance(row, Row):
            yield split, where, row
        elif row.reason != EMPTY_LINE:
            raise UserError(f"{where}:{row.line}: {row.reason}; 'textrnn datasets check' lists all such rows")


def _size(value: Value) -> int:
    if isinstance(value, tuple):
        return sum(map(len, value))
    return len(value) if isinstance(value, str) else 1


def scan(source: Source, fields: Sequence[Field], watch: Watch | None = None) -> Scan:
    """Reads all rows once and counts them.

    Args:
        source: what is read.
        fields: of each row.
        watch: is shown each row.

    Raises:
        UserError: a row can't be read, or a file has none, or some rows lack a label that others have.
    """
    watch = watch or Watch()
    found = Scan()
    named = [field.name for field in fields if field.kind in ("label", "tags")]
    for split, where, row in _good_rows(source):
        watch.row(where, row)
        found.rows[split] += 1
        found.characters[split] += sum(map(_size, row.values.values()))
        found.present.update(row.values.keys())
        for name in named:
            if (value := row.values.get(name)) is not None:
                counts = found.names.setdefault(name, {}).setdefault(split, Counter())
                counts.update(value if isinstance(value, tuple) else (str(value),))
    for name, part in source.parts.items():
        if not found.rows[name] and (name != ALL_SPLITS or not found.rows):
            raise UserError(f"{part.where}: no rows; expected at least one")
    for name in named:
        if 0 < found.present[name] < (rows := found.rows.total()):
            raise UserError(
                f"{source.name}: {rows - found.present[name]:,} of {rows:,} rows have no {name}; "
                "give it to all rows or to none"
            )
    watch.finish()
    return found


def _fingerprint(source: Source, fields: Sequence[Field]) -> str:
    columns = [(f.name, f.kind, f.column) for f in fields]
    content = json.dumps([FORMAT_VERSION, columns, sorted(source.parts), source.digest()])
    return hashlib.sha256(content.encode()).hexdigest()


def _stored(fields: Sequence[Field], found: Scan) -> list[Field]:
    """The fields that a dataset has: an optional one only where some row has it."""
    return [field for field in fields if found.present[field.name]]


def _features(fields: Sequence[Field], found: Scan) -> Any:
    import tensorflow_datasets as tfds

    def feature(field: Field) -> Any:
        if field.kind in ("label", "tags"):
            names = tfds.features.ClassLabel(names=sorted(set().union(*found.names[field.name].values())))
            return tfds.features.Sequence(names) if field.kind == "tags" else names
        if field.kind == "tokens":
            return tfds.features.Sequence(tfds.features.Text())
        return tfds.features.Scalar(np.bool_) if field.kind == "flag" else tfds.features.Text()

    return tfds.features.FeaturesDict({field.name: feature(field) for field in _stored(fields, found)})


_ABSENT: dict[str, Value] = {"text": "", "flag": False}
"""What stands for an optional value where only other rows have one."""


def _examples(source: Source, split: str, fields: Sequence[Field]) -> Iterator[dict[str, Any]]:
    for name, _, row in _good_rows(source):
        if name == split:
            values = {f.name: row.values.get(f.name, _ABSENT.get(f.kind)) for f in fields}
            yield {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def _shards(
    source: Source, split: str, fields: Sequence[Field], found: Scan
) -> list[Callable[[], Iterator[Any]]]:
    """What gives the rows of each file of a split, called one behind the other.

    TensorFlow Datasets holds the rows of the file that it writes in memory, so that one for all would need
    more than the whole dataset: see `ShardWriter.write`, and `Shuffler` for other builders.
    """
    own = {split: source.parts[split]} if split in source.parts else source.parts
    rows = enumerate(_examples(replace(source, parts=own), split, _stored(fields, found)))
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
            return {split: _shards(source, split, fields, found) for split in SPLITS if found.rows[split]}

    builder = Builder(data_dir=directory, file_format="tfrecord")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.suppress(FileExistsError):  # another process was quicker: its result is the same
        builder.download_and_prepare(download_config=config)


def _from_builder(
    name: str, builder: Any, dataset_hash: str, fields: Sequence[Field], columns: Mapping[str, str]
) -> Dataset:
    known = {SPLIT_ALIASES.get(split, split): split for split in builder.info.splits}
    splits = {split: known[split] for split in SPLITS if split in known}
    named = [f for f in fields if f.kind in ("label", "tags") and f.name in columns]
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
    check: Callable[[Scan], None] = lambda found: None,
    watch: Watch | None = None,
) -> Dataset:
    """The dataset of a source, made on disk if it is not there yet.

    Args:
        source: where the rows are.
        fields: what the task needs of a row.
        directory: holds prepared datasets.
        manual_directory: raw files of a catalogue dataset that need not be downloaded.
        check: may refuse what was found (raising UserError) before anything is written.
        watch: is shown each row of own files before that, and may refuse it likewise.

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
        found = scan(source, fields, watch)
        check(found)
        with contextlib.redirect_stdout(io.StringIO()):  # "Downloading and preparing": nothing is downloaded
            _write(source, fields, found, fingerprint, directory)
    builder = tfds.builder_from_directory(path)
    return _from_builder(
        source.name, builder, fingerprint, fields, {name: name for name in builder.info.features}
    )
