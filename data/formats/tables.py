"""Tables with a header: comma-separated and tab-separated values."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from data.errors import UserError
from data.formats.fields import EMPTY_LINE, BadRow, Field, Row, make_row, missing_column
from data.formats.opening import as_text


def read_csv(stream: BinaryIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield the rows of comma-separated values; quoted cells may contain commas and line breaks."""
    csv.field_size_limit(sys.maxsize)
    return _read_table(csv.reader(as_text(stream), strict=True), fields)


def read_tsv(stream: BinaryIO, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    """Yield the rows of tab-separated values; quotation marks have no special meaning."""
    csv.field_size_limit(sys.maxsize)
    return _read_table(csv.reader(as_text(stream), delimiter="\t", quoting=csv.QUOTE_NONE), fields)


def _read_table(rows: Any, fields: Sequence[Field]) -> Iterator[Row | BadRow]:
    try:
        header = next(rows, None)
    except csv.Error as error:
        raise UserError(f"the header is not CSV: {error}") from None
    if header is None:
        return
    for field in fields:
        column = field.find(header)
        if column is None and not field.optional:
            raise UserError(missing_column(field, header))
        if column is not None and header.count(column) > 1:
            raise UserError(f"two columns are named {column!r}; rename one")
    line = rows.line_num + 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(line, f"not CSV: {error}")
        else:
            if not cells:
                yield BadRow(line, EMPTY_LINE)
            elif len(cells) != len(header):
                yield BadRow(line, f"columns: {len(cells)}; in the header: {len(header)}")
            else:
                yield make_row(line, dict(zip(header, cells, strict=True)), fields)
        line = rows.line_num + 1
