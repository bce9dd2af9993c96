"""Multiword tokens: tokens of a text that are several words, such as the French `du`, which is `de` and `le`.

A multiword token is one token. Its tag is the tags of its words, joined by `+`. The words themselves are the
value of another field, which has one string for each token: empty for a token that is one word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from data.tags.schemes import merge_tags

JOINT = "+"
"""What joins the tags of the words of a token."""
_SEPARATOR = "\t"


class Word(NamedTuple):
    """A word of a multiword token."""

    text: str
    tag: str


def joined_tag(tags: Sequence[str]) -> str:
    """Return the tag of a token of several words.

    Tags of spans are not joined: the token belongs to the spans of its words.
    `joined_tag(["ADP", "DET"]) -> "ADP+DET"`, `joined_tag(["B-LOC", "I-LOC"]) -> "B-LOC"`
    """
    merged = merge_tags(tags)
    return JOINT.join(tags) if merged is None else merged


def pack(words: Sequence[Word]) -> str:
    """Return the words of a token as one string; empty if it is one word, or its tags are of spans.

    Raises:
        ValueError: a word has a tab.
    """
    if len(words) < 2 or merge_tags([word.tag for word in words]) is not None:
        return ""
    cells = [cell for word in words for cell in word]
    if bad := next((cell for cell in cells if _SEPARATOR in cell), None):
        raise ValueError(f"a word or its tag has a tab: {bad!r}")
    return _SEPARATOR.join(cells)


def unpack(packed: str) -> tuple[Word, ...]:
    """Return the words that `pack` was given; none if the token is one word."""
    cells = packed.split(_SEPARATOR) if packed else []
    return tuple(Word(*pair) for pair in zip(cells[::2], cells[1::2], strict=True))


class Range(NamedTuple):
    """A line of a file that says which of the next lines are words of one token."""

    line: int
    first: int
    last: int
    cells: Sequence[str]


class TokenColumns:
    """The columns of a sentence with a value for each token, from the lines of its words."""

    def __init__(self, form: int, tag: int | None) -> None:
        """Initialize.

        Args:
            form: number of the column of the forms.
            tag: number of the column of the tags; None: there is none.
        """
        self._form, self._tag = form, tag
        self.tokens: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        """The words of each token, packed."""
        self.lines: list[Sequence[str]] = []
        """The cells of the line of each token: that of its word, or of its range."""
        self._open: Range | None = None
        self._inner: list[Word] = []
        self._left = 0

    def begin(self, line: int, first: int, last: int, cells: Sequence[str]) -> str | None:
        """Begin a token of several words; return what is wrong about it, or None."""
        name = f"{first}-{last}"
        if self._open is not None:
            return f"the range {name} overlaps {self._open.first}-{self._open.last}"
        if last < first:
            return f"the range is {name}; expected the smaller number first"
        self._open, self._left = Range(line, first, last, cells), last - first + 1
        return None

    def add(self, cells: Sequence[str]) -> None:
        """Add the line of a word."""
        tag = "" if self._tag is None else cells[self._tag]
        if self._open is None:
            self._append(cells, tag, "")
            return
        self._inner.append(Word(cells[self._form], tag))
        self._skip()

    def skip(self) -> None:
        """Count a malformed line as a word."""
        if self._open is not None:
            self._skip()

    def _skip(self) -> None:
        self._left -= 1
        if self._left or self._open is None:
            return
        if self._inner:
            tags = [word.tag for word in self._inner]
            packed = "" if self._tag is None else pack(self._inner)
            self._append(self._open.cells, joined_tag(tags), packed)
        self._open, self._inner = None, []

    def _append(self, cells: Sequence[str], tag: str, words: str) -> None:
        self.tokens.append(cells[self._form])
        self.tags.append(tag)
        self.words.append(words)
        self.lines.append(cells)

    @property
    def of_kind(self) -> dict[str, list[str]]:
        """The columns by the kind of their fields."""
        return {"tokens": self.tokens, "tags": self.tags, "words": self.words}

    def unfinished(self) -> Range | None:
        """Return the range whose words are not all there, or None."""
        return self._open


def packed_words(value: object, name: Callable[[str, object], str]) -> str:
    """Return the words of a token from JSON: a list of objects with `text` and `tag`, packed.

    Args:
        value: as JSON; null or an empty list for a token that is one word.
        name: returns a text or a tag, checked.

    Raises:
        ValueError: it is no such list.
    """
    if value is None or value == "" or value == []:
        return ""
    if not isinstance(value, list) or not all(_is_word(word) for word in value):
        raise ValueError('expected a list of words such as {"text": "de", "tag": "ADP"}')
    if len(value) < 2:
        raise ValueError("one word; expected several, or an empty list for a token that is one word")
    return pack([Word(name("text", word["text"]), name("tag", word["tag"])) for word in value])


def _is_word(word: Any) -> bool:
    return isinstance(word, dict) and {"text", "tag"} <= word.keys()
