r"""Text that is safe to show on a terminal, and JSON of one line.

A control character in a label, a file name or a text could move the cursor, change colours or the title of
the window, or let text appear in another order than it has ("Trojan Source", CVE-2021-42574).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from app.json_text import dumps

# C0 and C1 controls, DEL, the embeddings, overrides and isolates of bidirectional text, and lone surrogates
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_OR_BREAK = re.compile(rf"{_UNSAFE.pattern[:-1]}\t\n\u2028\u2029]")


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def printable(text: str) -> str:
    r"""Return a text with its control characters as escapes; line feeds and tabs are kept.

    `printable("red: \x1b[31m") -> r"red: \x1b[31m"`
    """
    return _UNSAFE.sub(_escape, text)


def one_line(text: str) -> str:
    r"""Return a text as one line, with its control characters, line breaks and tabs as escapes."""
    return _UNSAFE_OR_BREAK.sub(_escape, text)


def json_line(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    r"""Return a value as JSON in one line, without its line feed.

    Letters of all scripts are written as they are. JSON escapes the characters below U+0020 itself; the other
    control characters become `\uXXXX` too, which is equal JSON.

    Args:
        value: to be written.
        default: returns a value that JSON has for one that it lacks.
    """
    text = dumps(value, ensure_ascii=False, default=default)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def short(value: object) -> str:
    """Return the value of a configuration key for people: three digits of a float, `true`, `gru`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
