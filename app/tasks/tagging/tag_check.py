"""The check of the tags of a source: which scheme they have, and which of them contradict it."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from data.findings import Finding
from data.formats import Row
from data.near_names import near_duplicates
from data.scan import ExampleValidator
from data.tags import Detection, Place, Places, SchemeDetector, parse_tag

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
        if found.unreadable.total:
            problems.append(
                self._finding(
                    f"{_count(found.unreadable.total)} not written as in {found.scheme}, the others are",
                    found.unreadable,
                    "correct the tags",
                )
            )
        if found.exceptions.total and found.has_too_many_exceptions:
            problems.append(
                self._finding(
                    f"{_count(found.exceptions.total)} of {found.tags:,} wrong in {found.scheme}, the scheme "
                    "that fits best",
                    found.exceptions,
                    "correct the tags",
                )
            )
        return problems

    def warnings(self) -> list[Finding]:
        """Return few contradictions, plain tags that are perhaps spans, and types that are nearly equal."""
        found = self.detection
        warnings = []
        if found.exceptions.total and not found.has_too_many_exceptions:
            warnings.append(
                self._finding(
                    f"{_count(found.exceptions.total)} of {found.tags:,} wrong in {found.scheme}",
                    found.exceptions,
                    "they are read as by conlleval, where an I- without its B- begins a span; correct them",
                )
            )
        if found.misspelled:
            shown = [f"{tag!r}" for tag, _, _ in found.misspelled[:SHOWN]]
            meant = [f"{correct!r}" for _, correct, _ in found.misspelled[:SHOWN]]
            more = " …" if len(found.misspelled) > SHOWN else ""
            warnings.append(
                Finding(
                    f"the tags are plain, though they look like spans: {', '.join(shown)}{more}",
                    f"write {', '.join(meant)}{more}, or there is no score of spans",
                )
            )
        elif found.scheme == "plain" and 2 * found.tags < self._detector.tags.total():
            types = [tag for tag, _ in self._detector.tags.most_common(3) if tag != "O"]
            warnings.append(
                Finding(
                    f"the tags are plain, though most are 'O' and few are {_listed(types)}",
                    f"if a span has several tokens, write 'B-{types[0]}' for the first and 'I-{types[0]}' "
                    "for each other one",
                )
                if types
                else Finding("the tags are all 'O'", "")
            )
        return warnings + self._nearly_equal()

    def notes(self) -> list[str]:
        """Return the scheme with the number of its exceptions."""
        found = self.detection
        if found.scheme == "plain":
            return [f"tags: plain, {len(self._detector.tags):,} distinct"]
        number = found.exceptions.total + found.unreadable.total
        return [f"tags: {found.scheme} ({number:,} exception{'' if number == 1 else 's'})"]

    def _nearly_equal(self) -> list[Finding]:
        """Return names of tags, or of types of spans, that differ in writing only."""
        tags = self._detector.tags
        if self.detection.scheme == "plain":
            kind, names = "tags", list(tags)
        else:
            kind, names = "types", [parsed[1] for tag in tags if (parsed := parse_tag(tag))]
        return [
            Finding(f"{kind} that differ in writing only: {_listed(group)}", "write them in one way")
            for group in near_duplicates(sorted({*names} - {""}))
        ]

    def _finding(self, what: str, places: Places, advice: str) -> Finding:
        return Finding(what, advice, [self._placed(place) for place in places.first], places.total)

    def _placed(self, place: Place) -> str:
        where = self._files[bisect_right(self._first, place.sentence) - 1]
        return f"{where}:{self._lines[place.sentence]}: token {place.token + 1}: {place.reason}"


def _count(number: int) -> str:
    return "1 tag is" if number == 1 else f"{number:,} tags are"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (" …" if len(names) > SHOWN else "")
