"""The beginning of a file, from which its layout is decided."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from data.formats.encodings import ON_ERROR, codec_of, decide_encoding
from data.formats.layout import Options

HEAD_BYTES = 1 << 18
"""Number of decompressed bytes from which a layout is decided."""
_UNDECODED = "".join(map(chr, range(0xDC00, 0xDD00)))


@dataclass(frozen=True)
class Head:
    """The beginning of a file, decompressed and, if it is text, decoded."""

    data: bytes
    whole: bool
    """Whether it is the whole file."""
    suffix: str
    """Of the name of the file, as `suffix_of` returns it."""
    compression: str
    open: Callable[[], BinaryIO]
    """Opens the file again, decompressed and seekable, for formats that are not text."""
    encoding: str = ""
    """Empty until it is decided."""
    text: str = ""
    line_end: str = ""

    def lines(self) -> list[str]:
        """Return the complete lines, without their ends."""
        newline = None if self.line_end == "CR" else "\n"
        with io.StringIO(self.text, newline=newline) as stream:
            found = [line.rstrip("\r\n") for line in stream]
        return found if self.whole or self.text.endswith(("\n", "\r")) else found[:-1]


def read_start(stream: BinaryIO, most: int = HEAD_BYTES) -> tuple[bytes, bool]:
    """Read at most so many bytes of a stream, and return them and whether they are all."""
    parts: list[bytes] = []
    size = 0
    while size < most and (part := stream.read(most - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts), size < most


def decoded(head: Head, options: Options) -> Head:
    """Return the head with its text.

    Raises:
        UserError: it is no text, or not in the encoding that it should have; the message has no path.
    """
    encoding = decide_encoding(head.data, whole=head.whole, stated=options.encoding)
    text = head.data.decode(codec_of(encoding), ON_ERROR)
    if not head.whole:
        text = text.rstrip(_UNDECODED)  # the last character may be incomplete
    if "\n" in text:
        line_end = "CRLF" if "\r\n" in text else "LF"
    else:
        line_end = "CR" if "\r" in text.rstrip("\r") or (head.whole and "\r" in text) else ""
    return replace(head, encoding=encoding, text=text, line_end=line_end)
