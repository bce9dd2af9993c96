"""Line-aligned files: line N of each file belongs to example N."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import UserError
from data.formats import read_rows
from data.formats.fields import BadRow, Field, Row
from data.formats.lines import read_lines
from data.formats.opening import open_text

_LINE = Field("text", "text", "text", "")


def read_parallel(paths: Sequence[Path], fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield a row for each line number, one file for each field.

    Raises:
        UserError: a file cannot be opened, or one is longer than another.
    """
    sides = [read_rows(path, (_LINE,), read_lines) for path in paths]
    for number, lines in enumerate(itertools.zip_longest(*sides), 1):
        if None in lines:
            shorter = paths[lines.index(None)]
            lengths = " and ".join(f"{path} has {_count_lines(path):,}" for path in paths)
            raise UserError(
                f"{shorter}: line {number:,} is missing: {lengths} lines; expected the same number in each"
            )
        bad = [
            BadRow(number, f"{path.name} is {line.reason}")
            for path, line in zip(paths, lines, strict=True)
            if isinstance(line, BadRow)
        ]
        texts = [line.text() for line in lines if isinstance(line, Row)]
        yield bad[0] if bad else Row(number, {f.name: text for f, text in zip(fields, texts, strict=True)})


def _count_lines(path: Path) -> int:
    with open_text(path) as lines:
        return sum(1 for _ in lines)
