"""How tags encode spans over tokens: schemes, their rules, and conversion.

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
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Literal, NamedTuple

Scheme = Literal["plain", "BIO", "IOB1", "BIOES", "BILOU", "BMES", "BMEWO"]

OUTSIDE = "O"

LETTERS: dict[Scheme, str] = {
    "BIO": "BI",
    "IOB1": "BI",
    # The first token of a span, inner tokens, the last token, and a single token.
    "BIOES": "BIES",
    "BILOU": "BILU",
    "BMES": "BMES",
    "BMEWO": "BMEW",
}
"""The letters of each scheme of spans."""
_BEGIN = frozenset("BSUW")
_END = frozenset("ELSUW")
_TAG = re.compile(r"([BIMELSUW])(?:-(.+))?", re.DOTALL)


class Span(NamedTuple):
    """A label and the tokens that have it, `start` to `end` (exclusive)."""

    label: str
    start: int
    end: int


@lru_cache(maxsize=1 << 16)
def parse_tag(tag: str) -> tuple[str, str] | None:
    """Return letter and label, `O` and `""` outside of spans; None for a tag that no span scheme has."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    return (match[1], match[2] or "") if match else None


def _letter_and_label(tag: str) -> tuple[str, str]:
    parsed = parse_tag(tag)
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
    letters = LETTERS[scheme]
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


def merge_tags(tags: Sequence[str]) -> str | None:
    """Return the tag of a token whose parts have tags of spans; None: the tags are not of spans.

    The token belongs to the first span of its parts, and begins or ends it if one of them does.
    `merge_tags(["O", "B-LOC"]) -> "B-LOC"`, `merge_tags(["B-LOC", "E-LOC"]) -> "S-LOC"`
    """
    parsed = [parse_tag(tag) for tag in tags]
    found = [own for own in parsed if own is not None]
    if len(found) < len(parsed) or any(not label and letter not in "BIO" for letter, label in found):
        return None
    inside = [own for own in found if own[0] != OUTSIDE]
    if not inside:
        return OUTSIDE
    label = inside[0][1]
    letters = [letter for letter, _ in takewhile(lambda own: own[1] == label, inside)]
    first, last = letters[0], letters[-1]
    if len(letters) > 1 and first in _BEGIN and last in _END:
        return _format("U" if last in "LU" else "S", label)
    return _format(first if first in _BEGIN else last, label)


class Fault(NamedTuple):
    """What is wrong about two adjacent tags, and which one is wrong: 0 the second, -1 the first."""

    blamed: int
    reason: str


def fault(scheme: Scheme, previous: str | None, tag: str | None) -> Fault | None:
    """Return what is wrong about `tag` after `previous`, or None; a tag of None is the edge of a sentence.

    Raises:
        ValueError: `tag` is no tag of a span, and the scheme is not `plain`.
    """
    if scheme == "plain":
        return None
    letters = LETTERS[scheme]
    known = OUTSIDE + letters
    letter, label = _letter_and_label(tag or OUTSIDE)
    if letter not in known:
        return Fault(0, f"{scheme} has no tag {tag!r}; its letters are {', '.join(letters)} and O")
    if previous is not None and ((parsed := parse_tag(previous)) is None or parsed[0] not in known):
        return None  # reported where it is the second of a pair
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
