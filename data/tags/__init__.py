"""How tags write spans over tokens: which scheme a data set follows, its spans, and their scores.

`plain` tags stand for one token each (parts of speech). All other schemes write typed spans (entities,
chunks, slots) as a letter and a label, `B-PER`, or as a letter alone where there is one type only:

- `BIO`: a span begins with B, goes on with I (also called IOB2).
- `IOB1`: a span is written with I; B only begins one that touches another of its type (Ramshaw and
  Marcus 1995; the data of CoNLL 2003).
- `BIOES`: as BIO, but a span ends with E, and one of a single token is S. `BILOU`, `BMES` and `BMEWO`
  are the same in other letters.

Models learn in `BIO`, into which every scheme converts without loss, and out of it again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from data.errors import UserError

Scheme = Literal["plain", "BIO", "IOB1", "BIOES", "BILOU", "BMES", "BMEWO"]

OUTSIDE = "O"

_LETTERS: dict[Scheme, str] = {
    "BIO": "BI",
    "IOB1": "BI",
    # What begins a span, goes on, ends it, and stands alone.
    "BIOES": "BIES",
    "BILOU": "BILU",
    "BMES": "BMES",
    "BMEWO": "BMEW",
}
_BEGIN = frozenset("BSUW")
_END = frozenset("ELSUW")
_TAG = re.compile(r"([BIMELSUW])(?:-(.+))?", re.DOTALL)


class SchemeError(UserError):
    """A tag that contradicts the scheme of its data set.

    Attributes:
        sentence: index of the sentence, from 0.
        token: index of the token within it, from 0.
        reason: what is wrong, without the place, for a caller that knows file and line.
    """

    def __init__(self, sentence: int, token: int, reason: str) -> None:
        super().__init__(f"sentence {sentence + 1}, token {token + 1}: {reason}")
        self.sentence, self.token, self.reason = sentence, token, reason


class Span(NamedTuple):
    """Tokens `start` to `end`, the latter exclusive, and what they are."""

    label: str
    start: int
    end: int


@lru_cache(maxsize=1 << 16)
def _parse(tag: str) -> tuple[str, str] | None:
    """Letter and label, `O` and `""` outside of spans; None for a tag that no span scheme has."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    return (match[1], match[2] or "") if match else None


def _letter_and_label(tag: str) -> tuple[str, str]:
    parsed = _parse(tag)
    if parsed is None:
        raise ValueError(f"a tag of a span is like B-PER, I-PER or O, got {tag!r}")
    return parsed


def _write(letter: str, label: str) -> str:
    return f"{letter}-{label}" if label else letter


def _continues(previous: str, tag: str) -> bool:
    """Whether `tag` belongs to the span that `previous` is in, as conlleval reads them."""
    letter, label = _letter_and_label(tag)
    before, label_before = _letter_and_label(previous)
    if OUTSIDE in (letter, before):
        return False
    return label == label_before and letter not in _BEGIN and before not in _END


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans that tags of any scheme but `plain` write, in their order.

    Read as CoNLL's conlleval reads them, which forgives: an I- without a B- before it, or behind another
    type, begins a span.
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
    """The same spans in another scheme; `plain` leaves the tags as they are.

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
        converted[start:end] = [_write(letter, label) for letter in written]
        previous = span
    return converted


class _Fault(NamedTuple):
    """What a pair of neighbouring tags does wrong, and which one does: 0 the second, -1 the first."""

    blamed: int
    reason: str


def _fault(scheme: Scheme, previous: str | None, tag: str | None) -> _Fault | None:
    """What is wrong about `tag` behind `previous`; None stands for the edge of a sentence."""
    if scheme == "plain":
        return None
    letters = _LETTERS[scheme]
    if tag is not None and (parsed := _parse(tag)) is not None and parsed[0] not in OUTSIDE + letters:
        return _Fault(0, f"{scheme} has no tag {tag!r}; its letters are {', '.join(letters)} and O")
    if tag is not None and _parse(tag) is None:
        return _Fault(
            0, f"{tag!r} is no tag of {scheme}; those are O, {', '.join(x + '-TYPE' for x in letters)}"
        )
    if previous is not None and ((parsed := _parse(previous)) is None or parsed[0] not in OUTSIDE + letters):
        return None  # told where it is the second of a pair
    letter, label = _letter_and_label(tag or OUTSIDE)
    before, label_before = _letter_and_label(previous or OUTSIDE)
    where = "at the start of a sentence" if previous is None else f"behind {previous!r}"
    if scheme == "IOB1":
        if letter == "B" and (before == OUTSIDE or label != label_before):
            return _Fault(0, f"{tag!r} {where}: in IOB1, B- only parts two spans of one type that touch")
        return None
    goes_on = tag is not None and previous is not None and _continues(previous, tag)
    if letter != OUTSIDE and letter not in _BEGIN and not goes_on:
        begin = " or ".join(repr(_write(x, label)) for x in letters if x in _BEGIN)
        return _Fault(0, f"{tag!r} {where}: in {scheme}, a span begins with {begin}")
    if len(letters) == 4 and before in letters[:2] and not goes_on:
        then = "the end of the sentence" if tag is None else repr(tag)
        allowed = " or ".join(repr(_write(x, label_before)) for x in letters[1:3])
        return _Fault(-1, f"{previous!r} before {then}: in {scheme}, it is followed by {allowed}")
    return None


@dataclass
class _Seen:
    """A pair of neighbouring tags: how often, and where it stood first."""

    count: int
    sentence: int
    token: int


class SchemeDetector:
    """Finds the scheme of a data set from its sentences, one at a time.

    It keeps the distinct pairs of neighbouring tags alone, from which all schemes can be told apart, so
    that the number of sentences does not matter.
    """

    def __init__(self, scheme: Scheme | None = None) -> None:
        """Starts empty; a `scheme` that is given is checked, not guessed."""
        self.given = scheme
        self.sentences = 0
        self._pairs: dict[tuple[str | None, str | None], _Seen] = {}

    def add(self, tags: Sequence[str]) -> None:
        """Reads the tags of one more sentence."""
        for i, pair in enumerate(pairwise((None, *tags, None))):
            seen = self._pairs.get(pair)
            if seen is None:
                self._pairs[pair] = _Seen(1, self.sentences, i)
            else:
                seen.count += 1
        self.sentences += 1

    def scheme(self) -> Scheme:
        """The scheme of all sentences so far.

        Tags that are all of a span scheme are read so: `BIO` where every span begins with B-, `IOB1`
        where B- stands between spans that touch only, the others by their letters. Letters without a
        label count only if there is a B among them. All else is `plain`.

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
            self._refuse(strange, "{tag!r} is neither O nor a letter and a type, as B-PER and I-PER are")
        if not labelled and "B" not in tags:
            return "plain"
        bare = [tag for tag in tags if labelled and tag not in labelled and tag != OUTSIDE]
        if bare:
            self._refuse(bare, f"{{tag!r}} has no type, but others have one, as {min(labelled)!r}")
        letters = {parts[0] for parts in parsed.values() if parts} - {OUTSIDE}
        fitting = [scheme for scheme, known in _LETTERS.items() if letters <= set(known)]
        return self._check(fitting or list(_LETTERS))

    def tags(self) -> list[str]:
        """The distinct tags that a model learns, sorted: those of `plain` sentences, else of `BIO`."""
        if self.scheme() == "plain":
            return sorted(self._tags())
        learnt = set()
        for previous, tag in self._pairs:
            if tag is not None:
                letter, label = _letter_and_label(tag)
                if letter != OUTSIDE:
                    letter = "I" if previous is not None and _continues(previous, tag) else "B"
                learnt.add(_write(letter, label))
        return sorted(learnt)

    def _tags(self) -> dict[str, None]:
        """The distinct tags as they stand, in the order of their first places."""
        return {tag: None for _, tag in self._pairs if tag is not None}

    def _refuse(self, tags: Iterable[str], reason: str) -> None:
        wrong = set(tags)
        seen, tag = next((seen, tag) for (_, tag), seen in self._pairs.items() if tag in wrong)
        raise SchemeError(seen.sentence, seen.token, reason.format(tag=tag))

    def _check(self, schemes: Sequence[Scheme]) -> Scheme:
        """The first scheme without a fault; else the first fault of the one that has the fewest."""
        counts: Counter[Scheme] = Counter()
        first: dict[Scheme, SchemeError] = {}
        for scheme in schemes:
            for (previous, tag), seen in self._pairs.items():
                fault = _fault(scheme, previous, tag)
                if fault is not None:
                    counts[scheme] += seen.count
                    first.setdefault(
                        scheme, SchemeError(seen.sentence, seen.token + fault.blamed, fault.reason)
                    )
            if scheme not in first:
                return scheme
        raise first[min(schemes, key=lambda scheme: counts[scheme])]


def transitions(tags: Sequence[str], scheme: Scheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of K tags may begin a sentence, follow which, and end it.

    Returns:
        start bool [K]; step bool [K, K], from the row's tag to the column's; end bool [K]. For `plain`
        tags all is allowed.
        `transitions(["B-X", "I-X", "O"], "BIO") -> [1 0 1], [[1 1 1] [1 1 1] [1 0 1]], [1 1 1]`
    """
    start = np.array([_fault(scheme, None, tag) is None for tag in tags], bool)
    end = np.array([_fault(scheme, tag, None) is None for tag in tags], bool)
    step = np.array([[_fault(scheme, before, tag) is None for tag in tags] for before in tags], bool)
    return start, step.reshape(len(tags), len(tags)), end


class Score(NamedTuple):
    """How many spans there are, were found and were found rightly, and the shares that follow.

    A share of nothing is 0, as in conlleval.
    """

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """The share of predicted spans that are right."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of gold spans that were found."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        total = self.gold + self.predicted
        return 2 * self.correct / total if total else 0.0


@dataclass
class SpanScores:
    """Precision, recall and F1 of spans, counted as CoNLL's conlleval counts them.

    A span is right if its label, start and end are (Tjong Kim Sang and Buchholz 2000).
    """

    gold: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    correct: Counter[str] = field(default_factory=Counter)

    def add(self, gold: Sequence[str], predicted: Sequence[str]) -> None:
        """Counts one more sentence: its tags, and those predicted, in any scheme but `plain`."""
        if len(gold) != len(predicted):
            raise ValueError(f"a tag for each token: {len(gold)} gold tags, {len(predicted)} predicted")
        right, found = spans(gold), spans(predicted)
        self.gold.update(span.label for span in right)
        self.predicted.update(span.label for span in found)
        self.correct.update(span.label for span in {*right} & {*found})

    @property
    def overall(self) -> Score:
        """All spans together (micro average)."""
        return Score(self.gold.total(), self.predicted.total(), self.correct.total())

    @property
    def by_label(self) -> dict[str, Score]:
        """Each label that stands in gold or predicted spans, sorted."""
        return {
            label: Score(self.gold[label], self.predicted[label], self.correct[label])
            for label in sorted({*self.gold, *self.predicted})
        }
