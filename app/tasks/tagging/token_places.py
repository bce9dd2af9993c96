"""The places of tokens in a text, by its characters without white space."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

Span = tuple[int, int]


@lru_cache(maxsize=1)
def _invisible() -> frozenset[str]:
    """Return the invisible characters; TensorFlow is imported for them."""
    from models.text.invisible import INVISIBLE, ranges

    return frozenset(chr(i) for first, last in ranges(INVISIBLE) for i in range(first, last + 1))


class Characters:
    """The characters of a text that are no white space."""

    def __init__(self, text: str) -> None:
        self._text = "".join(text.split())
        self._at: list[int] | None = None
        self._original = text

    def places(self, tokens: Sequence[str]) -> list[Span | None]:
        """Return the start and the end of consecutive tokens; None for one that is not written as it is.

        Only white space and invisible characters may lie between two tokens, unless the tokens before have no
        place.
        """
        found: list[Span | None] = []
        position = 0
        lost = False
        for token in tokens:
            own = "".join(token.split())
            start = self._text.find(own, position) if lost else self._start(own, position)
            if not own or start < 0:
                found.append(None)
                lost = True
                continue
            position = start + len(own)
            found.append((start, position))
            lost = False
        return found

    def _start(self, token: str, position: int) -> int:
        """Return where a token starts: at a position, or after invisible characters there; -1 if nowhere."""
        while not self._text.startswith(token, position):
            following = self._text[position : position + 1]
            if not following or following.isascii() or following not in _invisible():
                return -1
            position += 1
        return position

    def span(self, start: int, end: int) -> Span:
        """Return the place of a part of the text, of which start and end count all characters."""
        at = self._positions()
        return bisect_left(at, start), bisect_left(at, end)

    def original(self, place: Span) -> Span:
        """Return the start and the end, counting all characters, of a place."""
        at = self._positions()
        return at[place[0]], at[place[1] - 1] + 1

    def _positions(self) -> list[int]:
        if self._at is None:
            self._at = [i for i, character in enumerate(self._original) if not character.isspace()]
        return self._at


def token_places(text: str, tokens: Sequence[str]) -> list[Span | None]:
    """Return the start and the end of consecutive tokens in a text; None for one that is not in its place.

    `token_places("10 000 Euro", ["10 000", "Euro"]) -> [(0, 6), (7, 11)]`
    """
    characters = Characters(text)
    return [place and characters.original(place) for place in characters.places(tokens)]
