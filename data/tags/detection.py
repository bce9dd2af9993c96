"""Which scheme the tags of a dataset have: the one that fits them best, and where they contradict it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from data.findings import PLACES_KEPT
from data.tags.schemes import LETTERS, OUTSIDE, Scheme, fault, parse_tag
from data.tags.spelling import corrected

MOST_EXCEPTIONS = 0.01
"""Share of the tags other than O that may contradict the scheme; they are read by the rules of conlleval."""
_KEPT = PLACES_KEPT // 10
"""Number of places of one kind of transition that are kept."""
_CLEARLY = 9
"""How many times more tags must be written as spans than not, if none of the tags is O."""
_UNREADABLE = "?"


class Place(NamedTuple):
    """A tag that contradicts the scheme, and the reason."""

    sentence: int
    """From 0."""
    token: int
    """From 0."""
    reason: str


@dataclass(frozen=True)
class Places:
    """Tags of one kind: their number, and the first of them in order."""

    total: int = 0
    first: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Detection:
    """The scheme of a dataset."""

    scheme: Scheme
    tags: int
    """Number of tags other than O."""
    exceptions: Places = field(default_factory=Places)
    """Tags that contradict the scheme, but can be read: as in conlleval, each begins or continues a span."""
    unreadable: Places = field(default_factory=Places)
    """Tags that encode no span, where the others do."""
    misspelled: tuple[tuple[str, str, int], ...] = ()
    """Plain tags that are nearly tags of spans, the most frequent first: tag, what is meant, and number."""

    @property
    def has_too_many_exceptions(self) -> bool:
        """Whether so many tags contradict the scheme that it is perhaps another one."""
        return self.exceptions.total > MOST_EXCEPTIONS * self.tags


class _Transition(NamedTuple):
    """What the schemes distinguish about two adjacent tags; None is the edge of a sentence."""

    before: str | None
    letter: str | None
    same: bool
    """Whether they have the same label."""
    bare: bool
    """Whether the second one is a letter without a label."""


class _Pair(NamedTuple):
    """Two adjacent tags."""

    previous: str | None
    tag: str | None
    transition: _Transition


@lru_cache(maxsize=1 << 16)
def _pair(previous: str | None, tag: str | None) -> _Pair:
    before, label_before = _parts(previous)
    letter, label = _parts(tag)
    bare = letter not in (None, OUTSIDE, _UNREADABLE) and not label
    return _Pair(previous, tag, _Transition(before, letter, label == label_before, bare))


def _parts(tag: str | None) -> tuple[str | None, str]:
    if tag is None:
        return None, ""
    return parse_tag(tag) or (_UNREADABLE, "")


@dataclass
class _Seen:
    """Adjacent tags of one kind: their number, and the first of them."""

    number: int = 0
    pairs: list[_Pair] = field(default_factory=list)
    sentences: array[int] = field(default_factory=lambda: array("Q"))
    tokens: array[int] = field(default_factory=lambda: array("I"))


class SchemeDetector:
    """Detects the scheme of a dataset from its sentences, one at a time.

    It keeps the number of each tag, and the kinds of adjacent tags with some places of each. So memory grows
    with the number of distinct tags only.
    """

    def __init__(self) -> None:
        self.tags: Counter[str] = Counter()
        """The number of each tag."""
        self._sentences = 0
        self._seen: dict[_Transition, _Seen] = {}

    def add(self, tags: Sequence[str]) -> None:
        """Add the tags of a sentence."""
        self.tags.update(tags)
        for i, (previous, tag) in enumerate(pairwise((None, *tags, None))):
            pair = _pair(previous, tag)
            seen = self._seen.get(pair.transition)
            if seen is None:
                seen = self._seen[pair.transition] = _Seen()
            seen.number += 1
            if seen.number <= _KEPT:
                seen.pairs.append(pair)
                seen.sentences.append(self._sentences)
                seen.tokens.append(i)
        self._sentences += 1

    def detect(self) -> Detection:
        """Return the scheme that has the fewest exceptions among all sentences so far.

        Tags encode spans if most tags other than O are a letter of a scheme and a label. Letters alone encode
        spans only if there are no other tags, and B is one of them. All other tags are `plain`.
        """
        tags = self.tags.total() - self.tags[OUTSIDE]
        if not self._encode_spans():
            return Detection("plain", tags, misspelled=self._misspelled())
        typed = any(parsed and parsed[1] for parsed in map(parse_tag, self.tags))
        scheme = min(LETTERS, key=lambda scheme: self._misfit(scheme, typed=typed))
        return Detection(
            scheme,
            tags,
            self._places(lambda kind: not _strange(kind, typed=typed), lambda *pair: fault(scheme, *pair)),
            self._places(lambda kind: _strange(kind, typed=typed), lambda _, tag: (0, self._unreadable(tag))),
        )

    def _encode_spans(self) -> bool:
        typed = bare = strange = 0
        for tag, number in self.tags.items():
            parsed = parse_tag(tag)
            if parsed is None:
                strange += 0 if corrected(tag) else number
            elif parsed[1]:
                typed += number
            elif tag != OUTSIDE:
                bare += number
        if typed:
            needed = strange + bare
            return typed >= needed if OUTSIDE in self.tags else typed >= _CLEARLY * needed
        return bool(bare) and "B" in self.tags and all(map(parse_tag, self.tags))

    def _misfit(self, scheme: Scheme, *, typed: bool) -> tuple[int, int]:
        """Return the number of exceptions, and the number of letters that the scheme does not have."""
        exceptions = 0
        for kind, seen in self._seen.items():
            if not _strange(kind, typed=typed) and fault(scheme, *seen.pairs[0][:2]) is not None:
                exceptions += seen.number
        letters = {kind.letter for kind in self._seen} - {None, OUTSIDE, _UNREADABLE}
        return exceptions, len(letters - set(LETTERS[scheme]))

    def _places(
        self,
        chosen: Callable[[_Transition], bool],
        why: Callable[[str | None, str | None], tuple[int, str] | None],
    ) -> Places:
        """Return the tags for which there is a reason, a position relative to the second tag and a text."""
        total, first = 0, []
        for kind, seen in self._seen.items():
            if not chosen(kind) or why(*seen.pairs[0][:2]) is None:
                continue
            total += seen.number
            for pair, sentence, token in zip(seen.pairs, seen.sentences, seen.tokens, strict=True):
                if (reason := why(*pair[:2])) is not None:
                    first.append(Place(sentence, token + reason[0], reason[1]))
        return Places(total, tuple(sorted(first)))

    def _unreadable(self, tag: str | None) -> str:
        """Return why a tag encodes no span."""
        assert tag is not None
        if parse_tag(tag) is not None:
            example = min(name for name in self.tags if (parsed := parse_tag(name)) and parsed[1])
            return f"{tag!r} has no type, but others have one, as {example!r}"
        if meant := corrected(tag):
            return f"{tag!r} is no tag of a span; write {meant!r}"
        return f"{tag!r} is neither O nor a letter and a type, such as B-PER or I-PER"

    def _misspelled(self) -> tuple[tuple[str, str, int], ...]:
        """Return tags that are nearly tags of spans, if so many are that they are probably meant."""
        found = list(_corrections(self.tags))
        outside = OUTSIDE in self.tags or any(correct == OUTSIDE for _, correct, _ in found)
        meant = {correct for _, correct, _ in found if correct != OUTSIDE} or {"B", "I"} & set(self.tags)
        begin, inside = (any(tag.startswith(letter) for tag in meant) for letter in "BI")
        others = sum(n for tag, n in self.tags.items() if not corrected(tag) and parse_tag(tag) is None)
        nearly = sum(n for _, correct, n in found if correct != OUTSIDE)
        if not found or not begin or not (inside or outside) or others > nearly:
            return ()
        return tuple(sorted(found, key=lambda item: (-item[2], item[0])))


def _strange(kind: _Transition, *, typed: bool) -> bool:
    """Return whether the second tag cannot be read as a part of a span, as those with a type can."""
    return kind.letter == _UNREADABLE or (typed and kind.bare)


def _corrections(tags: Counter[str]) -> Iterator[tuple[str, str, int]]:
    for tag, number in tags.items():
        if meant := corrected(tag):
            yield tag, meant, number
