"""Prepared datasets: examples of a user's files or of the catalogue as TensorFlow Datasets on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.catalogue import prepare_catalogue
from data.dataset import Dataset, from_builder, rows_of
from data.errors import UserError
from data.findings import PLACES_SHOWN, Finding
from data.formats import Field
from data.scan import ExampleValidator, Scan, scan
from data.shards import complete, write_shards
from data.sources import CatalogueName, Part, Source
from data.splits import SPLITS, Splitting
from data.spool import Spool

__all__ = ["FORMAT_VERSION", "Dataset", "prepare", "readable"]

FORMAT_VERSION = "1.3.0"
"""Version of prepared datasets. A change of how examples are split or stored needs a new one."""


def prepare(
    source: Source | CatalogueName,
    fields: Sequence[Field],
    *,
    directory: Path,
    manual_directory: Path | None = None,
    splitting: Splitting | None = None,
    check: Callable[[Scan], Iterable[Finding]] = lambda found: (),
    warn: Callable[[Scan], Iterable[Finding]] = lambda found: (),
    validator: ExampleValidator | None = None,
) -> Dataset:
    """Return the dataset of a source, which is written to disk if it is not there yet.

    Args:
        source: of the examples.
        fields: the fields that the task needs of an example.
        directory: contains prepared datasets.
        manual_directory: raw files of a catalogue dataset that need not be downloaded.
        splitting: how examples that have no split get one.
        check: returns errors that follow from the counts of the examples.
        warn: returns warnings that follow from them, for the notes of the dataset.
        validator: sees each example, before anything is written.

    Raises:
        UserError: rows cannot be read, or a catalogue dataset is not available or not suitable.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    splitting = splitting or Splitting()
    validators = [validator] if validator else []
    if isinstance(source, CatalogueName):
        dataset, rows = _catalogue(source, fields, directory, manual_directory)
        if not fields:
            return dataset
        dataset, found = _assigned(dataset, rows, fields, splitting, validators, check, directory)
        source = rows
    else:
        dataset, found = _written(source, fields, splitting, validators, check, directory)
    _refuse(check(found))
    warnings = [warning.sentence() for warning in (*found.warnings, *warn(found))]
    used = [part for part in source.parts if part not in found.left_out]
    divided = splitting.describe(used, by_position=source.by_position)
    layout = (*source.layout, *([divided] if divided else []), *found.notes, *source.ignored)
    return replace(dataset, left_out=found.left_out, layout=layout, notes=(*layout, *warnings))


def readable(
    source: Source | CatalogueName,
    fields: Sequence[Field],
    *,
    directory: Path,
    manual_directory: Path | None = None,
) -> Source:
    """Return a source whose rows can be read: a dataset of the catalogue is downloaded and prepared.

    Args:
        source: of the examples.
        fields: the fields that the task needs of an example.
        directory: contains prepared datasets.
        manual_directory: raw files of a catalogue dataset that need not be downloaded.

    Raises:
        UserError: a catalogue dataset is not available or not suitable.
    """
    if isinstance(source, CatalogueName):
        return _catalogue(source, fields, directory, manual_directory)[1]
    return source


def _refuse(problems: Iterable[Finding]) -> None:
    """Raise an error with the first problem, and how many more there are."""
    found = list(problems)
    if not found:
        return
    message = found[0].sentence()
    if len(found) > 1:
        message += (
            f"; there {'is 1 more problem' if len(found) == 2 else f'are {len(found) - 1:,} more problems'}"
        )
    if len(found) > 1 or found[0].total > PLACES_SHOWN:
        message += "; 'textrnn datasets check DATA --all' lists all"
    raise UserError(message)


def _written(
    source: Source,
    fields: Sequence[Field],
    splitting: Splitting,
    validators: Sequence[ExampleValidator],
    check: Callable[[Scan], Iterable[Finding]],
    directory: Path,
) -> tuple[Dataset, Scan]:
    """Return the dataset of files and its counts, written if it is not there yet."""
    import tensorflow_datasets as tfds

    fingerprint = _fingerprint(source, fields, splitting)
    path = directory / source.name / fingerprint / FORMAT_VERSION
    existed = path.exists()  # another process may write it after this
    if not complete(path):
        if existed:  # with files missing or cut off
            shutil.rmtree(path, ignore_errors=True)
        with Spool(directory) as spool:
            found = scan(source, fields, splitting, spool, validators)
            _refuse([*found.problems, *check(found)])
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
    columns = {name: name for name in builder.info.features}
    dataset = from_builder(source.name, builder, fingerprint, fields, columns)
    return dataset, Scan.from_json(dict(builder.info.metadata))


def _fingerprint(source: Source, fields: Sequence[Field], splitting: Splitting) -> str:
    columns = [(f.name, f.kind, f.column, f.other_columns, f.separator, f.one_hot) for f in fields]
    parts = sorted(source.parts)
    content = [FORMAT_VERSION, columns, parts, splitting.identity(), source.options, source.digest()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _catalogue(
    name: CatalogueName, fields: Sequence[Field], directory: Path, manual_directory: Path | None
) -> tuple[Dataset, Source]:
    """Return a dataset of the catalogue, in the splits of the catalogue, and its rows."""
    with contextlib.redirect_stdout(sys.stderr):
        builder, columns = prepare_catalogue(name.name, fields, directory, manual_directory)
    identity = f"{builder.info.full_name} {json.dumps(columns, sort_keys=True)}"
    digest = hashlib.sha256(identity.encode()).hexdigest()
    dataset = from_builder(builder.name, builder, digest, fields, columns)

    def part(split: str) -> Part:
        where = f"tfds:{name.name} {split}"
        return Part(where, lambda: ((where, row) for row in rows_of(dataset, fields, split)))

    others = sorted(set(builder.info.splits) - set(dataset.splits.values()))
    rows = Source(
        builder.name,
        {split: part(split) for split in dataset.sizes},
        lambda: digest,
        fields[0].name if fields else "text",
        ignored=tuple(f"tfds:{name.name}: the split {split} is not read" for split in others),
    )
    return dataset, rows


def _assigned(
    dataset: Dataset,
    rows: Source,
    fields: Sequence[Field],
    splitting: Splitting,
    validators: Sequence[ExampleValidator],
    check: Callable[[Scan], Iterable[Finding]],
    directory: Path,
) -> tuple[Dataset, Scan]:
    """Return a dataset of the catalogue whose examples have their final splits, and their counts."""
    identity = json.dumps([FORMAT_VERSION, dataset.hash, splitting.identity()])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    path = directory / "splits" / f"{digest}.npz"
    if not path.exists():
        with Spool(directory) as spool:
            found = scan(rows, fields, splitting, spool, validators)
            _refuse([*found.problems, *check(found)])
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                np.savez_compressed(file, codes=spool.codes, found=json.dumps(found.to_json()))
            Path(file.name).replace(path)
    with np.load(path) as stored:
        codes, found = stored["codes"], Scan.from_json(json.loads(str(stored["found"])))
    assigned, splits, start = {}, dict(dataset.splits), 0
    for split, own in dataset.splits.items():
        end = start + dataset.sizes[split]
        if (codes[start:end] != SPLITS.index(split)).any():
            assigned[own] = codes[start:end]
        start = end
    if found.held_out:
        splits["validation"] = splits["train"]
    sizes = {split: found.examples[split] for split in SPLITS if found.examples[split]}
    return replace(dataset, hash=digest, sizes=sizes, splits=splits, assigned=assigned), found
