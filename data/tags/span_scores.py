"""Precision, recall and F1 of spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from data.tags.schemes import spans


class Score(NamedTuple):
    """The numbers of gold, predicted and correct items, such as spans, and the scores that follow from them.

    A score without items is 0, as in conlleval.
    """

    gold: int = 0
    predicted: int = 0
    correct: int = 0

    def plus(self, gold: int, predicted: int, correct: int) -> Score:
        """Return the score of these items and of further ones."""
        return Score(self.gold + gold, self.predicted + predicted, self.correct + correct)

    @property
    def precision(self) -> float:
        """Return the share of predicted items that are correct."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Return the share of gold items that were predicted."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        total = self.gold + self.predicted
        return 2 * self.correct / total if total else 0.0


@dataclass
class SpanScores:
    """Counts of spans, by the rules of CoNLL's conlleval.

    A span is correct if its label, start and end are (Tjong Kim Sang and Buchholz 2000).
    """

    gold: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    correct: Counter[str] = field(default_factory=Counter)

    def add(self, gold: Sequence[str], predicted: Sequence[str]) -> None:
        """Count the spans of a sentence: gold and predicted tags, in any scheme but `plain`."""
        if len(gold) != len(predicted):
            raise ValueError(f"expected as many tags: {len(gold)} gold, {len(predicted)} predicted")
        true, found = spans(gold), spans(predicted)
        self.gold.update(span.label for span in true)
        self.predicted.update(span.label for span in found)
        self.correct.update(span.label for span in {*true} & {*found})

    @property
    def overall(self) -> Score:
        """Return the score of all spans (micro average)."""
        return Score(self.gold.total(), self.predicted.total(), self.correct.total())

    @property
    def by_label(self) -> dict[str, Score]:
        """Return the score of each label of gold or predicted spans, sorted."""
        return {
            label: Score(self.gold[label], self.predicted[label], self.correct[label])
            for label in sorted({*self.gold, *self.predicted})
        }
