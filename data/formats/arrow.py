"""Parquet and Arrow files (file, stream and Feather), in batches of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from data.errors import UserError
from data.formats.base import Format
from data.formats.encodings import ON_ERROR
from data.formats.fields import (
    BadRow,
    Field,
    MissingColumn,
    Row,
    build_row,
    find_columns,
    missing_column,
)
from data.formats.head import Head
from data.formats.layout import Layout, Options
from data.names import clean_name

BATCH_ROWS = 1024
_MAGIC = {"Parquet": b"PAR1", "Arrow": b"ARROW1\x00\x00"}
_STREAM = b"\xff\xff\xff\xff"
"""Begins an Arrow stream, before the length of its schema."""
_LONGEST_SCHEMA = 1 << 28
Batches = Callable[[Sequence[int]], Iterator[list[Any]]]
"""Yields batches of some columns, by their positions: an Arrow array for each."""


def recognize_arrow(head: Head, fields: Sequence[Field], options: Options) -> bool:
    """Return whether the first bytes are those of a Parquet or an Arrow file."""
    return bool(_kind(head.data))


def _kind(data: bytes) -> str:
    for kind, magic in _MAGIC.items():
        if data.startswith(magic):
            return kind
    is_stream = data.startswith(_STREAM) and 0 < int.from_bytes(data[4:8], "little") < _LONGEST_SCHEMA
    return "Arrow stream" if is_stream else ""


def sniff_arrow(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Look for the columns of the fields in the schema."""
    kind = _kind(head.data)
    if not kind:
        raise UserError("neither Parquet nor Arrow; name it after its format, such as .csv or .jsonl")
    with head.open() as stream:
        schema, _ = _open(stream, kind)
    columns = tuple(clean_name(name) for name in schema.names)
    chosen: dict[str, str] = {}
    several = False
    for field in fields:
        places = find_columns(field, columns, numbered=True)
        if places is None:
            if not field.optional:
                raise MissingColumn(missing_column(field, columns, numbered=True), field)
            continue
        names = [columns[place] for place in places]
        for name in names:
            if columns.count(name) > 1:
                raise UserError(f"two columns are named {name!r}; rename one")
        chosen[field.name] = ",".join(names)
        several |= field.kind in ("label", "labels") and _is_list(schema.field(places[0]).type)
    return Layout("arrow", title=kind, variant=kind, columns=columns, chosen=chosen, several_labels=several)


def read_arrow(stream: BinaryIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield the rows, with their numbers from 1.

    Class labels of Hugging Face are numbers, which are replaced by their names; -1 is no label.
    """
    schema, batches = _open(stream, layout.variant)
    places_of = {field: find_columns(field, layout.columns, numbered=True) for field in fields}
    found = [(field, places) for field, places in places_of.items() if places is not None]
    needed = sorted({place for _, places in found for place in places})
    names = _class_names(schema.metadata)
    named = {place: names.get(schema.names[place], ()) for place in needed}
    line = 0
    for batch in batches(needed):
        columns = {
            place: [_decoded(value, named[place]) for value in array.to_pylist()]
            for place, array in zip(needed, batch, strict=True)
        }
        for index in range(len(batch[0])):
            line += 1
            values = [
                (
                    field,
                    [layout.columns[place] for place in places],
                    [columns[place][index] for place in places],
                )
                for field, places in found
            ]
            yield build_row(line, values)


@contextmanager
def _readable(kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"cannot be read as {kind}: it is incomplete or damaged ({reason}); copy or download it again"
        ) from None


def _open(stream: BinaryIO, kind: str) -> tuple[Any, Batches]:
    """Return the schema, and a function that yields batches of some columns."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise UserError(f"a {kind} file needs pyarrow; pip install 'textrnn[parquet]'") from None
    with _readable(kind):
        if kind == "Parquet":
            file = pq.ParquetFile(stream)
            schema = file.schema_arrow
        elif kind == "Arrow":
            file = pa.ipc.open_file(stream)
            schema = file.schema
        else:
            file = pa.ipc.open_stream(stream)
            schema = file.schema
        str(schema.names)  # decodes the names, which may be damaged too

    def all_batches(needed: Sequence[int]) -> Iterator[Any]:
        if kind == "Parquet":
            columns = [schema.names[place] for place in needed]
            return iter(file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False))
        if kind == "Arrow":
            return (file.get_batch(number) for number in range(file.num_record_batches))
        return iter(file)

    def batches(needed: Sequence[int]) -> Iterator[list[Any]]:
        with _readable(kind):
            for batch in all_batches(needed):
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    part = batch.slice(start, BATCH_ROWS)
                    yield [_validated(part.column(schema.names[place])) for place in needed]

    return schema, batches


def _is_list(type_: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    )


def _validated(array: Any) -> Any:
    """Return an array whose buffers were checked: reading a damaged one would end the process.

    Strings become bytes, so that one that is not UTF-8 makes a bad row, not an error of the file.
    """
    import pyarrow as pa

    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    array.validate()
    checked = array.view(as_bytes[array.type]) if array.type in as_bytes else array
    checked.validate(full=True)
    return checked


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, Sequence[str]]:
    """Return the names of class labels by column, which Hugging Face's `datasets` keeps in the schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: names
            for column, feature in features.items()
            if (names := _names_of(feature)) and all(isinstance(name, str) for name in names)
        }
    except (LookupError, TypeError, AttributeError, ValueError):
        return {}


def _names_of(feature: Any) -> Sequence[str]:
    if isinstance(feature, list):
        return _names_of(feature[0])
    names = feature.get("names") or ()
    return names if names or "feature" not in feature else _names_of(feature["feature"])


def _decoded(value: object, names: Sequence[str]) -> object:
    """Return a value with text in place of bytes, and names in place of their numbers."""
    if isinstance(value, bytes):
        return value.decode("utf-8", ON_ERROR)
    if isinstance(value, list):
        return [_decoded(item, names) for item in value]
    if names and isinstance(value, int) and not isinstance(value, bool):
        if value == -1:
            return None
        return names[value] if 0 <= value < len(names) else value
    return value


FORMAT = Format(
    "arrow",
    read_arrow,
    ("parquet", "arrow", "feather"),
    "records",
    title="Arrow",
    binary=True,
    recognize=recognize_arrow,
    sniff=sniff_arrow,
)
