"""Sniffing: the layout of a file is decided from its first bytes and lines, before a column is named."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from data.errors import UserError
from data.formats.base import Format, Shape
from data.formats.compression import MAGIC_BYTES, OPENERS, compression_of
from data.formats.fields import BadRow, Field, Row, encoding_problem
from data.formats.foreign import foreign_problem
from data.formats.head import Head, decoded, read_start
from data.formats.layout import Layout, Options
from data.formats.opening import as_text, join, open_compressed, placed, suffix_of
from data.formats.registry import all_formats, formats_of


@dataclass(frozen=True)
class File:
    """A file whose layout is decided."""

    path: Path
    layout: Layout
    rows: Callable[[], Iterator[Row | BadRow]]
    """Returns an iterator over the rows, in order; of a stream, only once.

    It raises a UserError with the path if the rest of the file cannot be read."""


def sniff(
    path: Path,
    fields: Sequence[Field],
    shapes: Collection[Shape],
    options: Options | None = None,
    *,
    format: Format | None = None,
) -> File | None:
    """Decide the layout of a file from its first bytes and lines; None: its format is not known.

    Args:
        path: of the file.
        fields: that a row needs.
        shapes: of the files that a task reads.
        options: what the user says about files.
        format: of the file; None: the one that its content has, or else its suffix names.

    Raises:
        MissingColumn: a column does not exist.
        UserError: the file cannot be opened or is no text, or its format cannot hold the fields.
    """
    options = options or Options()
    with placed(path):
        stream, compression = open_compressed(path)
        with stream:
            data, whole = read_start(stream)
        head = Head(data, whole, suffix_of(path), compression, lambda: _open_seekable(path))
        decided = _decide(head, fields, shapes, options, format)
    if decided is None:
        return None
    format, layout = decided

    def rows() -> Iterator[Row | BadRow]:
        with placed(path), _open_seekable(path) if format.binary else open_compressed(path)[0] as stream:
            yield from _read(stream, format, fields, layout)

    return File(path, layout, rows)


def sniff_stream(
    stream: BinaryIO,
    name: str,
    fields: Sequence[Field],
    shapes: Collection[Shape],
    options: Options | None = None,
    *,
    format: Format | None = None,
) -> File | None:
    """Decide the layout of a stream, such as standard input; None: its format is not known.

    A stream that is not clear has a text in each line, if that is one of the shapes. It is read only once, by
    the `rows` of the result.

    Args:
        stream: need not be seekable; whoever opened it closes it.
        name: of the stream, for messages.
        fields: that a row needs.
        shapes: of the files that a task reads.
        options: what the user says about files.
        format: of the stream; None: the one that its content has.

    Raises:
        UserError: as of `sniff`.
    """
    options = options or Options()
    with placed(name):
        first = read_start(stream, MAGIC_BYTES)[0]
        compression = compression_of(first)
        packed = join(first, stream)
        content = OPENERS[compression](packed) if compression else packed
        data, whole = read_start(content)
        head = Head(data, whole, "", compression, lambda: join(data, content))
        if _binary_format(head) is not None:  # it is not read from beginning to end
            copy = data + content.read()
            head = replace(head, open=lambda: io.BytesIO(copy))
        decided = _decide(head, fields, shapes, options, format)
        if decided is None and "lines" in shapes:
            decided = _decide(head, fields, shapes, options, all_formats()["lines"])
    if decided is None:
        return None
    format, layout = decided

    def rows() -> Iterator[Row | BadRow]:
        with placed(name):
            yield from _read(head.open(), format, fields, layout)

    return File(Path(name), layout, rows)


def read_rows(
    path: Path, fields: Sequence[Field], format: Format, options: Options | None = None
) -> Iterator[Row | BadRow]:
    """Yield the rows of a file of a given format, in order.

    Raises:
        UserError: as of `sniff`.
    """
    file = sniff(path, fields, (format.shape,), options, format=format)
    assert file is not None
    yield from file.rows()


def read_text(path: Path, options: Options | None = None) -> str | BadRow:
    """Return a whole file as one text, or the reason why it has none.

    It is for folders of many small files: one that is damaged is a row that cannot be read.
    """
    options = options or Options()
    try:
        with placed(path), open_compressed(path)[0] as stream:
            data = stream.read()
            if problem := foreign_problem(data):
                raise UserError(problem)
            head = decoded(Head(data, True, "", "", lambda: io.BytesIO(data)), options)
    except UserError as error:
        return BadRow(1, str(error).removeprefix(f"{path}: "))
    problem = encoding_problem(head.text, encoding=head.encoding)
    return BadRow(1, problem) if problem else head.text


def _open_seekable(path: Path) -> BinaryIO:
    stream, compression = open_compressed(path)
    if not compression:
        return stream
    with stream:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return cast(BinaryIO, copy)


def _read(
    stream: BinaryIO, format: Format, fields: Sequence[Field], layout: Layout
) -> Iterator[Row | BadRow]:
    if format.binary:
        return format.read(stream, fields, layout)
    newline = None if layout.line_end == "CR" and format.newline else format.newline
    return format.read(as_text(stream, layout.encoding, newline), fields, layout)


def _decide(
    head: Head,
    fields: Sequence[Field],
    shapes: Collection[Shape],
    options: Options,
    format: Format | None,
) -> tuple[Format, Layout] | None:
    """Return the format of a file and its layout, or None if its format is not known."""
    binary = _binary_format(head)
    named = formats_of(shapes).get(head.suffix)
    if binary is None and named is not None and named.binary and named.recognize is None:
        binary = named
    if binary is None:
        if problem := foreign_problem(head.data):
            raise UserError(problem)
        head = decoded(head, options)
    format = binary or format or _by_content(head, fields, shapes, options)
    if format is None:
        return None
    _check_able(format, fields, shapes)
    layout = format.sniff(head, fields, options) if format.sniff else Layout(format.name)
    return format, replace(
        layout,
        title=layout.title or format.title,
        compression=head.compression,
        encoding=head.encoding,
        line_end=head.line_end,
    )


def _binary_format(head: Head) -> Format | None:
    return next(
        (
            format
            for format in all_formats().values()
            if format.binary and format.recognize and format.recognize(head, (), Options())
        ),
        None,
    )


def _by_content(
    head: Head, fields: Sequence[Field], shapes: Collection[Shape], options: Options
) -> Format | None:
    """Return the format that the content surely has, or else the one of the suffix."""
    named = formats_of(shapes).get(head.suffix)
    if named is not None and named.recognize is None:
        return named
    able = dict.fromkeys(format.name for format in formats_of(shapes, fields).values())
    known = [named] if named else []
    known += [all_formats()[name] for name in able]
    sure = (format for format in known if format.recognize and format.recognize(head, fields, options))
    return next(sure, named)


def _check_able(format: Format, fields: Sequence[Field], shapes: Collection[Shape]) -> None:
    able = ", ".join(f".{suffix}" for suffix in formats_of(shapes, fields))
    if (field := format.missing(fields)) is not None:
        raise UserError(f"format {format.name} has no column {field.column!r} ({field.name}); use {able}")
    if format.shape not in shapes:
        raise UserError(f"format {format.name} is not read here; use {able}")
