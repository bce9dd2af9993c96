"""The lines of CoNLL files: their blocks between blank lines, their cells, and marks of documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

SPACE = " "
"""The delimiter of columns that are separated by any number of spaces and tabs."""

_GLOBAL_COLUMNS = "# global.columns ="
_SPACES = re.compile("[ \t]+")
_DOCUMENT = re.compile(r"-DOCSTART-([ \t]|$)|#(begin|end) document\b", re.IGNORECASE)
_PART_OF_TOKEN = re.compile(r"\d+[-.]\d+")
_RANGE = re.compile(r"([0-9]+)-([0-9]+)")


def split_line(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line.

    White space other than spaces and tabs, such as U+00A0 in `10 000`, is part of a cell.
    """
    if delimiter == SPACE:
        return _SPACES.split(line.strip(" \t"))
    return [cell.strip(" \t") for cell in line.split(delimiter)]


def is_document_mark(line: str) -> bool:
    """Return whether a line only says where a document starts or ends."""
    return _DOCUMENT.match(line) is not None


def is_part_of_token(position: str) -> bool:
    """Return whether a line is no token, by its position: `1-2` is several words, `1.1` is not written."""
    return _PART_OF_TOKEN.fullmatch(position) is not None


def range_of_words(position: str) -> tuple[int, int] | None:
    """Return the first and the last word of a token by its position: `3-4 -> (3, 4)`; or None."""
    match = _RANGE.fullmatch(position)
    return (int(match[1]), int(match[2])) if match else None


def blocks(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the blocks of lines between blank lines, each with the number of its first line."""
    block: list[str] = []
    number = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            block.append(line.rstrip("\r\n"))
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield number - len(block) + 1, block


def declared_columns(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the columns that a comment of CoNLL-U Plus declares."""
    for line in lines:
        if line.startswith(_GLOBAL_COLUMNS):
            return tuple(line.removeprefix(_GLOBAL_COLUMNS).split())
    return ()
