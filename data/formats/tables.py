"""Tables: rows of cells separated by commas, semicolons, tabs or vertical bars, with a header or without."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TextIO

from data.errors import UserError
from data.formats.base import Format
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
from data.formats.table_columns import guess_columns, has_header, name_by_number
from data.formats.table_layout import (
    CELL_CHARACTERS,
    Parsed,
    csv_format,
    decide_dialect,
    is_blank,
    is_delimiter_line,
)
from data.names import clean_name

_OTHER_DELIMITER = re.compile(r"[^\w\s.'\"()\[\]/#-]")
"""A sign in the name of a single column that may separate columns."""
HEADER_HINT = "; if the first row is no header, pass --set data.header=false"


def read_table(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each row of cells. Blank lines are skipped, also of separators only."""
    csv.field_size_limit(CELL_CHARACTERS)
    rows = csv.reader(lines, strict=True, **csv_format(layout.delimiter or ",", layout.variant))
    columns = _chosen_columns(fields, layout)
    started = False
    for line, cells in _numbered(rows):
        if isinstance(cells, csv.Error):
            too_long = "field limit" in str(cells)
            unclosed = "; perhaps a quotation mark is not closed" if too_long else ""
            yield BadRow(line, f"not CSV: {cells}{unclosed}")
        elif is_blank(cells) or (line == 1 and is_delimiter_line(cells)):
            continue
        elif not started and layout.header:
            started = True
        elif layout.header and [clean_name(cell) for cell in cells] == list(layout.columns):
            yield BadRow(line, "repeats the header", harmless=True)
        elif len(cells) != len(layout.columns):
            where = "in the header" if layout.header else "in the first row"
            yield BadRow(line, f"columns: {len(cells)}; {where}: {len(layout.columns)}")
        else:
            found = [(field, names, [cells[i] for i in places]) for field, names, places in columns]
            yield build_row(line, found, encoding=layout.encoding)


def _numbered(rows: Any) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield each row with the number of its first line, or the error in it."""
    while True:
        line = rows.line_num + 1
        try:
            yield line, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error


def _chosen_columns(
    fields: Sequence[Field], layout: Layout
) -> list[tuple[Field, tuple[str, ...], tuple[int, ...]]]:
    """Return each field that the table has, with the names and the places of its columns."""
    found = []
    for field in fields:
        places = find_columns(field, layout.columns, numbered=True)
        if places is None and field.name in layout.chosen:
            places = (layout.columns.index(layout.chosen[field.name]),)
        if places is not None:
            found.append((field, tuple(layout.columns[place] for place in places), places))
    return found


def recognize_table(head: Head, fields: Sequence[Field], options: Options) -> bool:
    """Return whether the first row names the columns of all fields, and the next ones have as many cells."""
    required = [field for field in fields if not field.optional]
    parsed = decide_dialect(head, fields, options)
    if not required or parsed is None or not parsed.rows or len(parsed.rows[0]) < 2 or parsed.share() < 1:
        return False
    names = [clean_name(cell) for cell in parsed.rows[0]]
    return all(find_columns(field, names) is not None for field in required)


def sniff_table(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Decide delimiter, quotation marks, header and columns from the first rows."""
    parsed = decide_dialect(head, fields, options)
    if parsed is not None and parsed.begins_with_error:
        raise UserError(f"the header is not CSV: {parsed.error}")
    if parsed is None or not parsed.rows:
        return Layout("table", title="TSV" if head.suffix == "tsv" else "CSV")
    first = [clean_name(cell) for cell in parsed.rows[0]]
    header = has_header(parsed.rows, fields, options)
    columns = tuple(first) if header else tuple(str(number) for number in range(1, len(first) + 1))
    layout = Layout(
        "table",
        title="TSV" if parsed.delimiter == "\t" else "CSV",
        variant=parsed.variant,
        delimiter=parsed.delimiter,
        header=header,
        columns=columns,
    )
    return replace(layout, chosen=_choose(fields, layout, parsed, options))


def _choose(fields: Sequence[Field], layout: Layout, parsed: Parsed, options: Options) -> dict[str, str]:
    chosen: dict[str, str] = {}
    missing: list[Field] = []
    for field in fields:
        places = find_columns(field, layout.columns, numbered=True)
        if places is not None:
            names = [layout.columns[place] for place in places]
            for name in names:
                if layout.columns.count(name) > 1:
                    raise UserError(f"two columns are named {name!r}; rename one")
            chosen[field.name] = ",".join(names) if len(names) > 1 else names[0]
        elif not field.optional:
            missing.append(field)
    if not missing:
        return chosen
    if layout.header:
        message = missing_column(missing[0], layout.columns, numbered=True)
        sign = _OTHER_DELIMITER.search(layout.columns[0])
        if len(layout.columns) == 1 and sign:
            message += f"; if {sign[0]!r} separates columns, pass --set 'data.delimiter={sign[0]}'"
        elif options.header == "auto" and not chosen:
            message += HEADER_HINT
        raise MissingColumn(message, missing[0])
    guessed = None if chosen else guess_columns(parsed.rows, fields)
    if guessed is None:
        raise MissingColumn(name_by_number(parsed.rows, missing, fields), missing[0])
    return guessed


FORMAT = Format(
    "table",
    read_table,
    ("csv", "tsv"),
    "records",
    frozenset(("text", "label", "labels", "flag")),
    title="CSV",
    newline="",
    recognize=recognize_table,
    sniff=sniff_table,
)
