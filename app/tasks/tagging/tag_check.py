"""The check of the tags of a source: which scheme they have, and which of them contradict it."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from data.findings import Finding
from data.formats import Row
from data.scan import ExampleValidator
from data.tags import OUTSIDE, Detection, Place, Places, SchemeDetector

SHOWN = 5
"""Number of tags or types that a sentence lists."""


class TagValidator(ExampleValidator):
    """Detects the scheme of all tags, and finds those that contradict it, with file and line."""

    def __init__(self) -> None:
        self._detector = SchemeDetector()
        self._lines = array("Q")
        self._first: list[int] = []
        self._files: list[str] = []
        self._detection: Detection | None = None

    def add(self, split: str, where: str, row: Row) -> None:
        """See the tags of an example."""
        if not self._files or self._files[-1] != where:
            self._first.append(len(self._lines))
            self._files.append(where)
        self._lines.append(row.line)
        self._detector.add(row.tokens("tags"))
        self._detection = None

    @property
    def detection(self) -> Detection:
        """Return what was found so far."""
        if self._detection is None:
            self._detection = self._detector.detect()
        return self._detection

    def problems(self) -> list[Finding]:
        """Return the tags that encode no span where others do, and contradictions if they are many."""
        found = self.detection
        problems = []
        if total := found.unreadable.total:
            what = (
                f"{_count(total, 'tag is', 'tags are')} not written as in {found.scheme}, as the others are"
            )
            problems.append(self._finding(what, found.unreadable, "correct the tags"))
        if (total := found.exceptions.total) and found.has_too_many_exceptions:
            what = (
                f"{_count(total, 'tag contradicts', 'tags contradict')} {found.scheme}, the scheme that fits "
                f"the other {found.tags - total:,} best"
            )
            problems.append(self._finding(what, found.exceptions, "correct the tags"))
        return problems

    def warnings(self) -> list[Finding]:
        """Return few contradictions, and plain tags that are perhaps spans."""
        found = self.detection
        warnings = []
        if (total := found.exceptions.total) and not found.has_too_many_exceptions:
            what = (
                f"{_count(total, 'tag contradicts', 'tags contradict')} {found.scheme}, the scheme of the "
                f"other {found.tags - total:,}"
            )
            advice = "they are read as by conlleval, where an I- without its B- begins a span; correct them"
            warnings.append(self._finding(what, found.exceptions, advice))
        if found.scheme == "plain":
            warnings += self._perhaps_spans(found)
        return warnings

    def _perhaps_spans(self, found: Detection) -> list[Finding]:
        """Return a warning if plain tags are perhaps meant as spans."""
        if found.misspelled:
            tags = _listed([tag for tag, _, _ in found.misspelled])
            meant = _listed([correct for _, correct, _ in found.misspelled])
            return [
                Finding(
                    f"the tags are plain, though they look like spans: {tags}",
                    f"write them as {meant}, or there are no scores of spans",
                )
            ]
        counts = self._detector.tags
        if counts and all(tag.isdecimal() for tag in counts):
            return [
                Finding(
                    f"the tags are numbers: {_listed(sorted(counts))}",
                    "if they are ids, as ner_tags of the Hugging Face hub, write the names in their place, "
                    "or there are no scores of spans",
                )
            ]
        if 0 < 2 * found.tags < counts.total():
            types = [tag for tag, _ in counts.most_common() if tag != OUTSIDE]
            return [
                Finding(
                    f"the tags are plain, though most are 'O': {_listed(types)}",
                    f"if they are types of spans, write 'B-{types[0]}' for the first token of a span and "
                    f"'I-{types[0]}' for the others, or there are no scores of spans",
                )
            ]
        return []

    def notes(self) -> list[str]:
        """Return the scheme with the number of its exceptions."""
        found = self.detection
        if found.scheme == "plain":
            return [f"tags: plain, {len(self._detector.tags):,} distinct"]
        exceptions = _count(found.exceptions.total + found.unreadable.total, "exception", "exceptions")
        return [f"tags: {found.scheme} ({exceptions})"]

    def _finding(self, what: str, places: Places, advice: str) -> Finding:
        return Finding(what, advice, [self._placed(place) for place in places.first], places.total)

    def _placed(self, place: Place) -> str:
        where = self._files[bisect_right(self._first, place.sentence) - 1]
        return f"{where}:{self._lines[place.sentence]}: token {place.token + 1}: {place.reason}"


def _count(number: int, one: str, several: str) -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {several}"


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (" …" if len(names) > SHOWN else "")
