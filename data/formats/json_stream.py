"""JSON values from a text stream, one after another, so that a large array is never in memory as a whole."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TextIO

from data.errors import UserError

PIECE_CHARACTERS = 1 << 16
_NEAR_END = 16
"""An error so near the end of what was read may be due to the rest, which was not read yet."""
_SPACE = " \t\r\n"


class JsonStream:
    """A text of JSON values, of which the next one can be read, or the next character."""

    def __init__(self, lines: TextIO) -> None:
        """Initialize.

        Args:
            lines: of which all is read, in pieces.
        """
        self._lines = lines
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._position = 0
        self._line = 1

    def line(self) -> int:
        """Return the number of the line of the next character that is no white space."""
        self.peek()
        return self._line

    def peek(self) -> str:
        """Return the next character that is no white space; empty: there is none."""
        while True:
            while self._position < len(self._text):
                character = self._text[self._position]
                if character not in _SPACE:
                    return character
                self._line += character == "\n"
                self._position += 1
            if not self._read(PIECE_CHARACTERS):
                return ""

    def rest(self, size: int) -> str:
        """Return at most so many of the next characters that were read already."""
        self.peek()
        return self._text[self._position : self._position + size]

    def take(self, expected: str, where: str) -> str:
        """Read one of the expected characters.

        Args:
            expected: characters.
            where: the place, for the message.

        Raises:
            UserError: there is another one, or none.
        """
        found = self.peek()
        if not found or found not in expected:
            wanted = " or ".join(map(repr, expected))
            self.fail(f"{repr(found) if found else 'the end of the file'} {where}; expected {wanted}")
        self._position += 1
        return found

    def value(self) -> Any:
        """Read a value.

        Raises:
            UserError: it is malformed, so that it is not known where it ends.
        """
        self.peek()
        size = PIECE_CHARACTERS
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                incomplete = error.pos >= len(self._text) - _NEAR_END or error.msg.startswith(
                    "Unterminated string"
                )
                if not incomplete or not self._read(size):
                    self._line += self._text.count("\n", self._position, error.pos)
                    self.fail(error.msg)
                size *= 2
                continue
            except (ValueError, RecursionError) as error:
                self.fail(str(error))
            # A number may go on in what was not read yet: `1` and `1.` begin `1.5`, `1e+` begins `1e+5`.
            if isinstance(value, int | float) and end + 2 >= len(self._text) and self._read(size):
                continue
            self._line += self._text.count("\n", self._position, end)
            self._position = end
            return value

    def fail(self, reason: str) -> NoReturn:
        """Raise a UserError with the line."""
        raise UserError(f"not JSON in line {self._line:,}: {reason}")

    def _read(self, size: int) -> bool:
        """Read more, and forget what was used; return whether there was more."""
        more = self._lines.read(size)
        if more:
            self._text = self._text[self._position :] + more
            self._position = 0
        return bool(more)
