"""The delimiter and the quotation marks of a table, decided from its first rows.

`csv.Sniffer` counts characters, so it takes the commas of texts for delimiters. Here a delimiter must give
all rows the same number of cells.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import UserError
from data.formats.fields import Field, find_columns
from data.formats.head import Head
from data.formats.layout import Options
from data.names import clean_name

ROWS = 200
"""Number of rows from which a layout is decided."""
CELL_CHARACTERS = 1 << 24
"""Maximum size of a cell. One that is not closed would otherwise have the rest of the file."""
_MOST_ROWS = 0.9
DELIMITERS = (",", ";", "\t", "|")
_NAMED_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
_QUOTED_CELL = r'"[^"]*(?:""[^"]*)*"'
_CELL = rf'(?:{_QUOTED_CELL}|[^"\t\r\n]*)'


Variant = Literal["quoted", "unquoted", "escaped"]
"""What quotation marks do: they enclose cells, and are doubled in them; they are characters like others; they
enclose cells, and follow a backslash in them."""


@dataclass(frozen=True)
class Parsed:
    """The first rows of a table, as one delimiter separates their cells."""

    delimiter: str
    variant: Variant
    rows: list[list[str]]
    """Rows that are not blank."""
    errors: int = 0
    error: str = ""
    """The first error."""
    begins_with_error: bool = False

    def share(self) -> float:
        """Return the share of rows that have as many cells as the first one, if these are at least two."""
        if not self.rows or len(self.rows[0]) < 2:
            return 0.0
        same = sum(len(row) == len(self.rows[0]) for row in self.rows)
        return same / (len(self.rows) + self.errors)


def check_delimiter(stated: str) -> str:
    r"""Return the character that a user means: `tab`, `\t` and a tab are the same.

    Raises:
        UserError: it is not one character.
    """
    delimiter = _NAMED_DELIMITERS.get(stated.strip().lower(), stated)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UserError(
            f"data.delimiter = {stated!r}: expected one character, or one of {', '.join(_NAMED_DELIMITERS)}"
        )
    return delimiter


def is_blank(cells: Sequence[str]) -> bool:
    """Return whether a row has nothing but white space."""
    return not any(cell and not cell.isspace() for cell in cells)


def is_delimiter_line(cells: Sequence[str]) -> bool:
    """Return whether the first row is that in which Excel says the delimiter: `sep=;`."""
    return list(cells) == ["sep=", ""] or (len(cells) == 1 and re.fullmatch(r"sep=\W", cells[0]) is not None)


def csv_format(delimiter: str, variant: str) -> dict[str, Any]:
    """Return the arguments of `csv.reader` that read a table."""
    if variant == "escaped":
        return {"delimiter": delimiter, "doublequote": False, "escapechar": "\\"}
    quoting = csv.QUOTE_NONE if variant == "unquoted" else csv.QUOTE_MINIMAL
    return {"delimiter": delimiter, "quoting": quoting}


def parse(text: str, delimiter: str, variant: Variant, *, whole: bool) -> Parsed:
    """Return the first rows of a table.

    Args:
        text: the beginning of the file.
        delimiter: between cells.
        variant: what quotation marks mean.
        whole: whether the text is the whole file; else its last row may be incomplete.
    """
    csv.field_size_limit(CELL_CHARACTERS)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, strict=True, **csv_format(delimiter, variant))
    rows: list[list[str]] = []
    errors: list[str] = []
    begins_with_error = False
    complete = whole
    while len(rows) < ROWS:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if not whole and str(error) == "unexpected end of data":
                break
            begins_with_error |= not rows
            errors.append(str(error))
        else:
            if not is_blank(row) and (rows or not is_delimiter_line(row)):
                rows.append(row)
    else:
        complete = True
    if not complete and len(rows) > 1:
        rows.pop()
    return Parsed(delimiter, variant, rows, len(errors), errors[0] if errors else "", begins_with_error)


def decide_dialect(head: Head, fields: Sequence[Field], options: Options) -> Parsed | None:
    """Return the first rows with the delimiter and the quotation marks that fit best; None: there are none.

    Args:
        head: of the file.
        fields: whose columns the first row may name.
        options: what the user says.

    Raises:
        UserError: the delimiter that the user says is not one character.
    """
    if not head.text.strip():
        return None
    if options.delimiter:
        return _parse_best(head, check_delimiter(options.delimiter))
    if stated := re.match(r"sep=(\W)[\r\n]", head.text):
        return _parse_best(head, stated[1])
    usual = "\t" if head.suffix == "tsv" else ","
    parsed = {delimiter: _parse_best(head, delimiter) for delimiter in DELIMITERS}

    def fit(delimiter: str) -> tuple[float, ...]:
        own = parsed[delimiter]
        consistent = own.share() == 1
        return (
            own.share() > 0 and names_columns(own.rows[0], fields),
            consistent,
            consistent and delimiter == "\t",  # tabs are rare in texts
            own.share() >= _MOST_ROWS,
            own.share() > 0 and delimiter == usual,
            own.share(),
        )

    best = max(DELIMITERS, key=fit)
    return parsed[best] if any(fit(best)) else parsed[usual]


def names_columns(first: Sequence[str], fields: Sequence[Field]) -> bool:
    """Return whether a row has the name of a column that is needed; a number is no name here."""
    names = [clean_name(cell) for cell in first]
    return any(
        find_columns(field, names) is not None and not all(part.isdecimal() for part in field.parts())
        for field in fields
    )


def _parse_best(head: Head, delimiter: str) -> Parsed:
    if delimiter == "\t":
        variant: Variant = "quoted" if _is_consistently_quoted(head) else "unquoted"
        return parse(head.text, delimiter, variant, whole=head.whole)
    parsed = parse(head.text, delimiter, "quoted", whole=head.whole)
    if not parsed.errors:
        return parsed
    others: list[Variant] = ["escaped"] if '\\"' in head.text else []
    if delimiter != ",":
        others.append("unquoted")
    tried = (parse(head.text, delimiter, other, whole=head.whole) for other in others)
    return next((other for other in tried if not other.errors and other.share() == 1), parsed)


def _is_consistently_quoted(head: Head) -> bool:
    """Return whether a table with tabs was written with quotation marks around cells.

    Then every quotation mark encloses a cell or is doubled in one, and either a cell could not be written
    without them, or a whole column has them.
    """
    text = head.text
    if not head.whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    if '"' not in text or not re.fullmatch(rf"(?:{_CELL}[\t\r\n])*+{_CELL}", text):
        return False
    plain = parse(text, "\t", "unquoted", whole=True)
    need = '""' if plain.share() == 1 else '""|[\t\r\n]'
    if any(re.search(need, cell[1:-1]) for cell in re.findall(_QUOTED_CELL, text)):
        return True
    body = plain.rows[1:]
    columns = zip(*body, strict=False)
    return len(body) > 1 and any(all(cell.startswith('"') for cell in column) for column in columns)
