r"""Standard streams of any encoding, and closed ones.

A character that the encoding of a stream lacks is written as `\uXXXX`. In a string of JSON that is the same
character; a person can read it.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path

ESCAPE = "textrnn.escape"
"""Name of the error handler."""
_CHOSEN = ("replace", "ignore", "xmlcharrefreplace", "namereplace")
"""Error handlers that only a user can have chosen, by PYTHONIOENCODING."""


def escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Return the escapes of characters that an encoding lacks: `é` as `\u00e9`, `😀` as `\ud83d\ude00`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end


def prepare_streams() -> None:
    """Make the standard streams of a process fit for any text.

    A stream that was closed (`>&-`) takes its number again, so that no other file gets it: reading stdin and
    writing to stdout then fail, and messages on stderr are dropped.
    """
    codecs.register_error(ESCAPE, escaped)
    if sys.stdin is None:
        sys.stdin = open(_null(os.O_WRONLY), encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(_null(os.O_RDONLY), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(_null(os.O_WRONLY), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors not in _CHOSEN:
            stream.reconfigure(errors=ESCAPE)


def _null(flags: int) -> int:
    return os.open(os.devnull, flags)


def finish_output() -> None:
    """Write what stdout still holds.

    Raises:
        OSError: it cannot be written, and is dropped, so that the interpreter does not try it again at exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
        raise


def drop_output() -> None:
    """Drop what is, and will be, written to stdout."""
    null = _null(os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def print_path(path: Path) -> None:
    """Print a path in a line; one that is not valid Unicode as the bytes that it is, but for a terminal."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        if not sys.stdout.isatty():
            sys.stdout.flush()
            sys.stdout.buffer.write(os.fsencode(path) + b"\n")
            sys.stdout.buffer.flush()
            return
    sys.stdout.write(f"{text}\n")
