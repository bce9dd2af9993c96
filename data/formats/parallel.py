"""Line-aligned files: line N of each file belongs to example N."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import UserError
from data.formats.fields import BadRow, Field, Row, build_row
from data.formats.layout import Options
from data.formats.registry import all_formats
from data.formats.sniffing import File, sniff

_LINE = Field("text", "text", "text", "")


def sniff_sides(paths: Sequence[Path], options: Options | None = None) -> list[File]:
    """Decide the layouts of files with one text, label or sequence in each line.

    Raises:
        UserError: a file cannot be opened, or is no text.
    """
    lines = all_formats()["lines"]
    files = [sniff(path, (_LINE,), (lines.shape,), options, format=lines) for path in paths]
    return [file for file in files if file is not None]


def read_parallel(
    paths: Sequence[Path], fields: Sequence[Field], options: Options | None = None
) -> Iterator[Row | BadRow]:
    """Yield a row for each line number, one file for each field.

    A text is a whole line; tokens and tags are separated by white space, as are several labels if the field
    has no other separator. An example whose line of labels is empty has no label.

    Raises:
        UserError: a file cannot be opened, or one is longer than another.
    """
    sides = sniff_sides(paths, options)
    for number, lines in enumerate(itertools.zip_longest(*(side.rows() for side in sides)), 1):
        if None in lines:
            shorter = paths[lines.index(None)]
            lengths = " and ".join(f"{side.path} has {_count_lines(side):,}" for side in sides)
            raise UserError(
                f"{shorter}: line {number:,} is missing: {lengths} lines; expected the same number in each"
            )
        bad = [
            BadRow(number, f"{path.name} is {line.reason}")
            for path, line in zip(paths, lines, strict=True)
            if isinstance(line, BadRow)
        ]
        texts = [line.text() for line in lines if isinstance(line, Row)]
        yield bad[0] if bad else _row(number, texts, paths, fields)


def _row(number: int, texts: Sequence[str], paths: Sequence[Path], fields: Sequence[Field]) -> Row | BadRow:
    return build_row(
        number,
        [
            (field, (path.name,), (_raw(text, field),))
            for text, path, field in zip(texts, paths, fields, strict=True)
        ],
    )


def _raw(text: str, field: Field) -> object:
    if field.kind in ("tokens", "tags"):
        return [part for part in re.split("[ \t]+", text) if part]
    if field.kind == "labels" and not field.separator:
        return text.split() or None
    return text


def _count_lines(side: File) -> int:
    return sum(1 for _ in side.rows())
