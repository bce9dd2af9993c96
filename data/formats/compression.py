"""Compressed files, which are known by their first bytes, not by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

SUFFIXES = ("gz", "bz2", "xz", "zst")
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile)
"""Errors of a compressed file that is truncated or changed. bzip2 raises an OSError without a number."""
MAGIC_BYTES = 8
_MAGIC = {
    "gzip": rb"\x1f\x8b",
    "bzip2": rb"BZh[1-9](?:1AY&|\x17rE8)",
    "xz": rb"\xfd7zXZ\x00",
    "zstd": rb"\x28\xb5\x2f\xfd",
}
_ZSTD_PIECE = 1 << 12
_ZSTD_WINDOW = 1 << 31


class _ZstandardFile(io.RawIOBase):
    """A decompressed Zstandard file, of one or several frames.

    The package's own reader takes a truncated file for a complete one; here it is an EOFError.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._source = source.open("rb") if isinstance(source, Path) else source
        self._owned = isinstance(source, Path)
        self._frame = self._next_frame()
        self._packed = b""
        self._ready = memoryview(b"")

    @staticmethod
    def _next_frame() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            packed = self._packed or self._source.read(_ZSTD_PIECE)
            if not packed:
                if self._frame.eof:
                    return 0
                raise EOFError("the last frame has no end")
            if self._frame.eof:
                self._frame = self._next_frame()
            self._ready = memoryview(self._frame.decompress(packed))
            self._packed = self._frame.unused_data if self._frame.eof else b""
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        if self._owned:
            self._source.close()
        super().close()


def _open_zstandard(source: Path | BinaryIO) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_ZstandardFile(source), 1 << 16))


OPENERS: dict[str, Callable[[Path | BinaryIO], BinaryIO]] = {
    "gzip": lambda source: cast(BinaryIO, gzip.open(source)),  # noqa: SIM115 - the caller closes it
    "bzip2": lambda source: cast(BinaryIO, bz2.open(source)),  # noqa: SIM115
    "xz": lambda source: cast(BinaryIO, lzma.open(source)),  # noqa: SIM115
    "zstd": _open_zstandard,
}
"""Open a path, or the rest of a stream, decompressed. Closing the result does not close a stream."""


def compression_of(first: bytes) -> str:
    """Return how a file is compressed, by its first `MAGIC_BYTES` bytes; empty: it is not."""
    return next((name for name, magic in _MAGIC.items() if re.match(magic, first)), "")
