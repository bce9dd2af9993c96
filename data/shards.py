"""Writing examples to disk with TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data.formats import Field, Value
from data.scan import Scan
from data.splits import SPLITS
from data.spool import Spool

SHARD_CHARACTERS = 8 << 20
"""Approximate size of a file."""

_ABSENT: dict[str, Value] = {"text": "", "flag": False, "words": ()}
"""The stored value of an optional field that an example lacks."""


def write_shards(
    spool: Spool,
    fields: Sequence[Field],
    found: Scan,
    *,
    name: str,
    fingerprint: str,
    version: str,
    directory: Path,
) -> None:
    """Write the spooled examples to the directory NAME/FINGERPRINT/VERSION.

    Args:
        spool: the examples.
        fields: of each example. An optional field that no example has is not stored.
        found: counts of the examples, which are stored too.
        name: of the dataset.
        fingerprint: identifies its content.
        version: of the format, as X.Y.Z.
        directory: contains all prepared datasets.
    """
    import tensorflow_datasets as tfds

    stored = [field for field in fields if found.present[field.name]]

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=fingerprint, version=version)]

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description="Examples of a user's own files.",
                features=_features(stored, found),
                metadata=tfds.core.MetadataDict(found.to_json()),
                disable_shuffling=True,
            )

        def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable[[], Iterator[Any]]]]:
            return {split: _shards(spool, split, stored, found) for split in SPLITS if found.examples[split]}

    Builder.name = name
    builder = Builder(data_dir=directory, file_format="tfrecord")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    # If another process was quicker, its dataset is the same.
    with contextlib.suppress(FileExistsError):
        builder.download_and_prepare(download_config=config)


def complete(directory: Path) -> bool:
    """Return whether all files of a dataset that `write_shards` wrote are there, none of them cut off."""
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError
    from tensorflow_datasets.core.dataset_info import DatasetInfoFileError

    try:
        splits = tfds.builder_from_directory(directory).info.splits
        return all(
            sum(Path(path).stat().st_size for path in split.filepaths) == split.num_bytes
            for split in splits.values()
        )
    except (OSError, ValueError, ParseError, DatasetInfoFileError, tfds.core.DatasetNotFoundError):
        return False


def _features(stored: Sequence[Field], found: Scan) -> Any:
    import tensorflow_datasets as tfds

    def feature(field: Field) -> Any:
        if field.kind in ("label", "labels", "tags"):
            names = tfds.features.ClassLabel(names=sorted(set().union(*found.names[field.name].values())))
            return names if field.kind == "label" else tfds.features.Sequence(names)
        if field.kind in ("tokens", "words"):
            return tfds.features.Sequence(tfds.features.Text())
        return tfds.features.Scalar(np.bool_) if field.kind == "flag" else tfds.features.Text()

    return tfds.features.FeaturesDict({field.name: feature(field) for field in stored})


def _shards(
    spool: Spool, split: str, stored: Sequence[Field], found: Scan
) -> list[Callable[[], Iterator[Any]]]:
    """Return for each file of a split a function that returns its examples; they are called in order.

    TensorFlow Datasets holds all examples of a file in memory before it writes them (`ShardWriter.write`), so
    the size of a file limits the memory that is needed.
    """
    examples = enumerate(
        {field.name: values.get(field.name, _ABSENT.get(field.kind)) for field in stored}
        for values in spool.read(split)
    )
    count = min(-(-found.characters[split] // SHARD_CHARACTERS) or 1, found.examples[split])
    size = -(-found.examples[split] // count)
    return [lambda: itertools.islice(examples, size)] * -(-found.examples[split] // size)
