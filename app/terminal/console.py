"""The console that all tables and messages are printed with."""

from __future__ import annotations

import re
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from app.terminal.printable import printable

_MARKS = {"·": "-", "–": "-", "—": "-", "…": "...", "×": "x"}
"""Punctuation of messages, and what is shown on a terminal whose encoding lacks it."""
_MARK = re.compile("|".join(_MARKS))


class _SafeConsole(Console):
    """A console that shows control characters as escapes, in printed texts and in cells of tables alike."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that a string is shown as; all strings come through here."""
        if not self.encoding.startswith("utf"):
            text = _MARK.sub(self._mark, text)
        return super().render_str(printable(text), **options)

    def _mark(self, found: re.Match[str]) -> str:
        try:
            found[0].encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return _MARKS[found[0]]
        return found[0]


def make_console(stream: TextIO | None = None) -> Console:
    """Return a console that prints strings as they are, control characters as escapes.

    Args:
        stream: where it prints; None: stdout.
    """
    return _SafeConsole(file=stream, highlight=False, markup=False, soft_wrap=True)
