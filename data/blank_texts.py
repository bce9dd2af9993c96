"""A check that there is text to learn from."""

from __future__ import annotations

from collections.abc import Sequence

from data.findings import Finding
from data.formats import Row
from data.scan import ExampleValidator
from data.splits import TRAINING_SPLITS


class BlankTexts(ExampleValidator):
    """Refuses a training or validation split in which all texts of a field are white space."""

    def __init__(self, fields: Sequence[str]) -> None:
        """Initialize.

        Args:
            fields: names of the texts of an example.
        """
        self._fields = fields
        self._splits: set[str] = set()
        self._filled: set[tuple[str, str]] = set()

    def add(self, split: str, where: str, row: Row) -> None:
        """See the next example."""
        self._splits.add(split)
        for name in self._fields:
            if (split, name) not in self._filled and row.text(name).strip():
                self._filled.add((split, name))

    def problems(self) -> list[Finding]:
        """Return the fields without any text, by split."""
        return [
            Finding(
                f"each {name} of the {split} split is empty or white space",
                "give texts, or name the right column",
            )
            for split in TRAINING_SPLITS
            for name in self._fields
            if split in self._splits and (split, name) not in self._filled
        ]
