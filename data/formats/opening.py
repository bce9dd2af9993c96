"""Opening files: decompressed, and decoded line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from data.errors import UserError
from data.formats.compression import DAMAGE, MAGIC_BYTES, OPENERS, SUFFIXES, compression_of
from data.formats.encodings import ON_ERROR, codec_of


def suffix_of(path: Path) -> str:
    """Return the suffix that names the format, in lower case: `train.jsonl.gz -> jsonl`."""
    suffixes = [suffix[1:].lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_compressed(path: Path) -> tuple[BinaryIO, str]:
    """Open a file for reading, decompressed if it is compressed; return it and its compression."""
    with path.open("rb") as stream:
        compression = compression_of(stream.read(MAGIC_BYTES))
    return (OPENERS[compression](path) if compression else path.open("rb")), compression


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed if it is compressed."""
    return open_compressed(path)[0]


class _Joined(io.RawIOBase):
    """Bytes that were read from a stream, and its rest."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = memoryview(first)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._first:
            data = self._rest.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        size = min(len(buffer), len(self._first))
        buffer[:size] = self._first[:size]
        self._first = self._first[size:]
        return size


def join(first: bytes, rest: BinaryIO) -> BinaryIO:
    """Return a stream of bytes that were read from a stream, and then of its rest."""
    return cast(BinaryIO, io.BufferedReader(_Joined(first, rest)))


class _Text(io.TextIOWrapper):
    """The text of a stream that is closed by its owner: dropping the text does not close the stream."""

    def __del__(self) -> None:
        if not self.closed:
            self.detach()


def as_text(stream: BinaryIO, encoding: str = "utf-8", newline: str | None = "\n") -> TextIO:
    r"""Decode a binary stream, with or without a byte order mark.

    Undecodable bytes become surrogates, so that the row that has them can be reported.

    Args:
        stream: decompressed.
        encoding: of the text.
        newline: as in `open`: `"\n"`: only a line feed ends a line; None: a carriage return too, and it is
            replaced by a line feed; empty: so too, but it is kept.
    """
    return _Text(stream, encoding=codec_of(encoding), errors=ON_ERROR, newline=newline)


def open_text(path: Path) -> TextIO:
    """Open a file in UTF-8 as text, decompressed if it is compressed."""
    return as_text(open_binary(path))


@contextmanager
def placed(path: Path | str) -> Iterator[None]:
    """Turn an error in reading a file into one with its path.

    Raises:
        UserError: it cannot be opened or decompressed, or is not what it should be.
    """
    try:
        yield
    except UserError as error:
        error.args = (f"{path}: {error}",)
        raise
    except (OSError, *DAMAGE) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        raise UserError(
            f"{path}: cannot be read: it is incomplete or damaged ({error}); copy or download it again"
        ) from None
