"""How tags encode spans over tokens: the scheme of a dataset, its detection, and conversion.

A `plain` tag describes one token (part of speech). All other schemes encode typed spans (entities,
chunks, slots) as a letter and a label, `B-PER`, or as a letter alone where there is one type only:

- `BIO`: a span begins with B and continues with I (also called IOB2).
- `IOB1`: a span has I only; B begins one that directly follows another of its type (Ramshaw and
  Marcus 1995; the data of CoNLL 2003).
- `BIOES`: as BIO, but the last token of a span is E, and the token of a span of one token is S. `BILOU`,
  `BMES` and `BMEWO` are the same with other letters.

Models learn `BIO`, into which every scheme converts without loss.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

from data.errors import UserError

Scheme = Literal["plain", "BIO", "IOB1", "BIOES", "BILOU", "BMES", "BMEWO"]

OUTSIDE = "O"

_LETTERS: dict[Scheme, str] = {
    "BIO": "BI",
    "IOB1": "BI",
    # The first token of a span, inner tokens, the last token, and a single token.
    "BIOES": "BIES",
    "BILOU": "BILU",
    "BMES": "BMES",
    "BMEWO": "BMEW",
}
_BEGIN = frozenset("BSUW")
_END = frozenset("ELSUW")
_TAG = re.compile(r"([BIMELSUW])(?:-(.+))?", re.DOTALL)


class SchemeError(UserError):
    """A tag that contradicts the scheme of its dataset.

    Attributes:
        sentence: index of the sentence, from 0.
        token: index of the token within it, from 0.
        reason: what is wrong, without the position, for a caller that knows file and line.
    """

    def __init__(self, sentence: int, token: int, reason: str) -> None:
        super().__init__(f"sentence {sentence + 1}, token {token + 1}: {reason}")
        self.sentence, self.token, self.reason = sentence, token, reason


class Span(NamedTuple):
    """A label and the tokens that have it, `start` to `end` (exclusive)."""

    label: str
    start: int
    end: int


@lru_cache(maxsize=1 << 16)
def _parse(tag: str) -> tuple[str, str] | None:
    """Return letter and label, `O` and `""` outside of spans; None for a tag that no span scheme has."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    return (match[1], match[2] or "") if match else None


def _letter_and_label(tag: str) -> tuple[str, str]:
    parsed = _parse(tag)
    if parsed is None:
        raise ValueError(f"a tag of a span is like B-PER, I-PER or O, got {tag!r}")
    return parsed


def _format(letter: str, label: str) -> str:
    return f"{letter}-{label}" if label else letter


def _continues(previous: str, tag: str) -> bool:
    """Return whether `tag` belongs to the span of `previous`, by the rules of conlleval."""
    letter, label = _letter_and_label(tag)
    before, label_before = _letter_and_label(previous)
    if OUTSIDE in (letter, before):
        return False
    return label == label_before and letter not in _BEGIN and before not in _END


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans that tags of any scheme but `plain` encode, in their order.

    As in CoNLL's conlleval, an I- without a B- before it, or after another type, begins a span.
    `spans(["B-PER", "I-PER", "I-LOC", "O"]) -> [("PER", 0, 2), ("LOC", 2, 3)]`
    """
    found: list[Span] = []
    previous = OUTSIDE
    for i, tag in enumerate(tags):
        if _continues(previous, tag):
            found[-1] = found[-1]._replace(end=i + 1)
        elif tag != OUTSIDE:
            found.append(Span(_letter_and_label(tag)[1], i, i + 1))
        previous = tag
    return found


def convert(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Return tags of the same spans in another scheme; `plain` leaves the tags unchanged.

    `convert(["I-PER", "I-PER", "B-PER"], "BIO") -> ["B-PER", "I-PER", "B-PER"]`
    """
    if scheme == "plain":
        return list(tags)
    converted = [OUTSIDE] * len(tags)
    letters = _LETTERS[scheme]
    previous = Span("", -1, -1)
    for span in spans(tags):
        label, start, end = span
        written = [letters[0], *letters[1] * (end - start - 1)]
        if scheme == "IOB1" and (previous.label, previous.end) != (label, start):
            written[0] = "I"
        elif len(letters) == 4 and end - start == 1:
            written = [letters[3]]
        elif len(letters) == 4:
            written[-1] = letters[2]
        converted[start:end] = [_format(letter, label) for letter in written]
        previous = span
    return converted


class Fault(NamedTuple):
    """What is wrong about two adjacent tags, and which one is wrong: 0 the second, -1 the first."""

    blamed: int
    reason: str


def fault(scheme: Scheme, previous: str | None, tag: str | None) -> Fault | None:
    """Return what is wrong about `tag` after `previous`, or None; a tag of None is the edge of a sentence."""
    if scheme == "plain":
        return None
    letters = _LETTERS[scheme]
    if tag is not None and (parsed := _parse(tag)) is not None and parsed[0] not in OUTSIDE + letters:
        return Fault(0, f"{scheme} has no tag {tag!r}; its letters are {', '.join(letters)} and O")
    if tag is not None and _parse(tag) is None:
        return Fault(
            0, f"{tag!r} is not a tag of {scheme}; allowed are O, {', '.join(x + '-TYPE' for x in letters)}"
        )
    if previous is not None and ((parsed := _parse(previous)) is None or parsed[0] not in OUTSIDE + letters):
        return None  # reported where it is the second of a pair
    letter, label = _letter_and_label(tag or OUTSIDE)
    before, label_before = _letter_and_label(previous or OUTSIDE)
    where = "at the start of a sentence" if previous is None else f"after {previous!r}"
    if scheme == "IOB1":
        if letter == "B" and (before == OUTSIDE or label != label_before):
            return Fault(
                0,
                f"{tag!r} {where}: in IOB1, B- only begins a span that follows one of its type",
            )
        return None
    continued = tag is not None and previous is not None and _continues(previous, tag)
    if letter != OUTSIDE and letter not in _BEGIN and not continued:
        begin = " or ".join(repr(_format(x, label)) for x in letters if x in _BEGIN)
        return Fault(0, f"{tag!r} {where}: in {scheme}, a span begins with {begin}")
    if len(letters) == 4 and before in letters[:2] and not continued:
        then = "the end of the sentence" if tag is None else repr(tag)
        allowed = " or ".join(repr(_format(x, label_before)) for x in letters[1:3])
        return Fault(-1, f"{previous!r} before {then}: in {scheme}, it is followed by {allowed}")
    return None


@dataclass
class _Seen:
    """The count of a pair of adjacent tags, and the position of the first."""

    count: int
    sentence: int
    token: int


class SchemeDetector:
    """Detects the scheme of a dataset from its sentences, one at a time.

    It keeps only the distinct pairs of adjacent tags, which distinguish all schemes, so that memory does
    not grow with the number of sentences.
    """

    def __init__(self, scheme: Scheme | None = None) -> None:
        """Start without sentences; a given `scheme` is checked, not detected."""
        self.given = scheme
        self.sentences = 0
        self._pairs: dict[tuple[str | None, str | None], _Seen] = {}

    def add(self, tags: Sequence[str]) -> None:
        """Add the tags of a sentence."""
        for i, pair in enumerate(pairwise((None, *tags, None))):
            seen = self._pairs.get(pair)
            if seen is None:
                self._pairs[pair] = _Seen(1, self.sentences, i)
            else:
                seen.count += 1
        self.sentences += 1

    def scheme(self) -> Scheme:
        """Return the scheme of all sentences so far.

        Tags that all belong to a span scheme have it: `BIO` if every span begins with B-, `IOB1` if B-
        only separates adjacent spans, the others by their letters. Letters without a label are a span scheme
        only if B is one of them. All other tags are `plain`.

        Raises:
            SchemeError: a tag contradicts the scheme that was given or that fits the data best.
        """
        if self.given is not None:
            self._check([self.given])
            return self.given
        tags = self._tags()
        parsed = {tag: _parse(tag) for tag in tags}
        labelled = {tag for tag, parts in parsed.items() if parts and parts[1]}
        strange = [tag for tag, parts in parsed.items() if parts is None]
        if strange and not (labelled and OUTSIDE in tags):
            return "plain"
        if strange:
            self._refuse(strange, "{tag!r} is neither O nor a letter and a type, such as B-PER or I-PER")
        if not labelled and "B" not in tags:
            return "plain"
        bare = [tag for tag in tags if labelled and tag not in labelled and tag != OUTSIDE]
        if bare:
            self._refuse(bare, f"{{tag!r}} has no type, but others have one, as {min(labelled)!r}")
        letters = {parts[0] for parts in parsed.values() if parts} - {OUTSIDE}
        fitting = [scheme for scheme, known in _LETTERS.items() if letters <= set(known)]
        return self._check(fitting or list(_LETTERS))

    def tags(self) -> list[str]:
        """Return the distinct tags that a model learns, sorted: those of `BIO` unless they are `plain`."""
        if self.scheme() == "plain":
            return sorted(self._tags())
        learnt = set()
        for previous, tag in self._pairs:
            if tag is not None:
                letter, label = _letter_and_label(tag)
                if letter != OUTSIDE:
                    letter = "I" if previous is not None and _continues(previous, tag) else "B"
                learnt.add(_format(letter, label))
        return sorted(learnt)

    def _tags(self) -> dict[str, None]:
        """Return the distinct tags in the order of their first occurrence."""
        return {tag: None for _, tag in self._pairs if tag is not None}

    def _refuse(self, tags: Iterable[str], reason: str) -> None:
        wrong = set(tags)
        seen, tag = next((seen, tag) for (_, tag), seen in self._pairs.items() if tag in wrong)
        raise SchemeError(seen.sentence, seen.token, reason.format(tag=tag))

    def _check(self, schemes: Sequence[Scheme]) -> Scheme:
        """Return the first scheme without a fault; else raise the first fault of the one with the fewest."""
        counts: Counter[Scheme] = Counter()
        first: dict[Scheme, SchemeError] = {}
        for scheme in schemes:
            for (previous, tag), seen in self._pairs.items():
                found = fault(scheme, previous, tag)
                if found is not None:
                    counts[scheme] += seen.count
                    first.setdefault(
                        scheme, SchemeError(seen.sentence, seen.token + found.blamed, found.reason)
                    )
            if scheme not in first:
                return scheme
        raise first[min(schemes, key=lambda scheme: counts[scheme])]
