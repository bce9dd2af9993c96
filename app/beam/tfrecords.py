"""Files of TFRecords: an example is a `tf.train.Example` whose features are named as columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.formats import BadRow, Field, Row
from data.formats.compression import MAGIC_BYTES, compression_of
from data.formats.encodings import ON_ERROR
from data.formats.fields import make_row

TFRECORD = "tfrecord"
_NAME = re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE)
_COMPRESSIONS = {"": "", "gzip": "GZIP"}
_LISTS = ("tokens", "tags", "words", "labels")


def is_tfrecord(name: str) -> bool:
    """Return whether a file has the name of a TFRecord file, such as `reviews.tfrecord-00000-of-00004`."""
    return _NAME.search(name) is not None


def read_tfrecords(path: Path, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield a row for each record, with its number from 1.

    Args:
        path: of a file, uncompressed or in gzip.
        fields: of a row. One that has a list takes all values of its feature; another one takes the only one.

    Raises:
        UserError: the file is damaged, or compressed otherwise.
    """
    import tensorflow as tf

    with path.open("rb") as file:
        compression = compression_of(file.read(MAGIC_BYTES))
    if compression not in _COMPRESSIONS:
        raise UserError(f"{path}: TFRecords in {compression}; expected no compression, or gzip")
    records = tf.data.TFRecordDataset(str(path), _COMPRESSIONS[compression]).as_numpy_iterator()
    lists = {
        column for field in fields if field.kind in _LISTS for column in (field.column, *field.other_columns)
    }
    line = 0
    while True:
        line += 1
        try:
            record = next(records)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            raise UserError(
                f"{path}: cannot be read as TFRecord: it is incomplete or damaged ({error.message}); copy or "
                "download it again"
            ) from None
        example = tf.train.Example()
        try:
            example.ParseFromString(record)
        except Exception:  # DecodeError of the implementation of protobuf that is installed
            yield BadRow(line, "not a tf.train.Example")
            continue
        yield make_row(line, _columns(example.features.feature, lists), fields)


def _columns(features: Mapping[str, Any], lists: set[str]) -> dict[str, object]:
    """Return the values of features as a row of JSON would have them."""
    columns: dict[str, object] = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        values = [] if kind is None else list(getattr(feature, kind).value)
        values = [value.decode("utf-8", ON_ERROR) if isinstance(value, bytes) else value for value in values]
        if name in lists or len(values) > 1:
            columns[name] = values
        elif values:
            columns[name] = values[0]
    return columns
