"""The console that all tables and messages are printed with."""

from __future__ import annotations

from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from app.terminal.printable import printable


class _SafeConsole(Console):
    """A console that shows control characters as escapes, in printed texts and in cells of tables alike."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that a string is shown as; all strings come through here."""
        return super().render_str(printable(text), **options)


def make_console(stream: TextIO | None = None) -> Console:
    """Return a console that prints strings as they are, control characters as escapes.

    Args:
        stream: where it prints; None: stdout.
    """
    return _SafeConsole(file=stream, highlight=False, markup=False, soft_wrap=True)
