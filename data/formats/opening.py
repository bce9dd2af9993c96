"""Opening and decompressing files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO, TextIO, cast

COMPRESSED = ".gz"


def suffix_of(path: Path) -> str:
    """Return the suffix that names the format, in lower case: `train.jsonl.gz -> jsonl`."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes[-1:] == [COMPRESSED]:
        suffixes.pop()
    return suffixes[-1][1:] if suffixes else ""


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed if its name ends in `.gz`."""
    if path.suffix.lower() == COMPRESSED:
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


class _Text(io.TextIOWrapper):
    """The text of a stream that is closed by its owner: dropping the text does not close the stream."""

    def __del__(self) -> None:
        if not self.closed:
            self.detach()


def as_text(stream: BinaryIO) -> TextIO:
    """Decode a binary stream as UTF-8, with or without a byte order mark.

    Bytes that are not UTF-8 become surrogates, so that the row that has them can be reported.
    """
    return _Text(stream, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def open_text(path: Path) -> TextIO:
    """Open a file or a `.gz` as text."""
    return as_text(open_binary(path))
