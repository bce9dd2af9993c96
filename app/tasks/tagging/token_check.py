"""The check of the tokens of a source: whether they are in the text, and which of them are several words."""

from __future__ import annotations

from collections.abc import Sequence

from app.tasks.tagging.tag_check import TagValidator
from app.tasks.tagging.token_places import token_places
from data.findings import PLACES_KEPT, Finding
from data.formats import Row
from data.multiword import JOINT
from data.scan import ExampleValidator


class TaggingValidator(ExampleValidator):
    """The checks of tokens and of tags."""

    def __init__(self, words: str) -> None:
        """Initialize.

        Args:
            words: the name of the field of the words of each token.
        """
        self._checks: Sequence[ExampleValidator] = (TagValidator(), TokenValidator(words))

    def add(self, split: str, where: str, row: Row) -> None:
        """See an example."""
        for check in self._checks:
            check.add(split, where, row)

    def problems(self) -> list[Finding]:
        """Return the errors."""
        return [finding for check in self._checks for finding in check.problems()]

    def warnings(self) -> list[Finding]:
        """Return the warnings."""
        return [finding for check in self._checks for finding in check.warnings()]

    def notes(self) -> list[str]:
        """Return what was decided."""
        return [note for check in self._checks for note in check.notes()]


class TokenValidator(ExampleValidator):
    """Finds tokens that are not in the text of their example, and counts those of several words."""

    def __init__(self, words: str) -> None:
        """Initialize as `TaggingValidator`."""
        self._words = words
        self._tokens = self._with_text = self._multiword = self._lost = 0
        self._places: list[str] = []

    def add(self, split: str, where: str, row: Row) -> None:
        """See the tokens of an example."""
        tokens = row.tokens()
        self._tokens += len(tokens)
        if self._words in row.values:
            self._multiword += sum(map(bool, row.tokens(self._words)))
        if not row.values.get("text"):
            return
        self._with_text += len(tokens)
        for i, (token, place) in enumerate(zip(tokens, token_places(row.text(), tokens), strict=True), 1):
            if place is None:
                self._lost += 1
                if len(self._places) < PLACES_KEPT:
                    self._places.append(f"{where}:{row.line}: token {i}: {token!r}")

    def warnings(self) -> list[Finding]:
        """Return the tokens that are not in the text."""
        if not self._lost:
            return []
        tokens = "1 token is" if self._lost == 1 else f"{self._lost:,} tokens are"
        return [
            Finding(
                f"{tokens} not in the text of the example, of {self._with_text:,}",
                "on raw text they count as missed; write the tokens as in the text, and in its order",
                self._places,
                self._lost,
            )
        ]

    def notes(self) -> list[str]:
        """Return the number of tokens of several words."""
        if not self._multiword:
            return []
        return [
            f"multiword tokens: {self._multiword:,} of {self._tokens:,} tokens are several words, whose tags "
            f"are joined by {JOINT!r}"
        ]
