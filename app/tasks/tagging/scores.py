"""Metrics of tags on given tokens."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.bootstrap import Outcomes, f1
from app.metrics import ACCURACY, EXACT_MATCH, LABEL_ACCURACY, LOSS, SPAN_F1, Metric
from app.tasks.tagging.facts import TaggingFacts
from data.tags import Score, SpanScores


def metrics(*, has_spans: bool, has_labels: bool) -> tuple[Metric, ...]:
    """Return the metrics that may select the best epoch."""
    of_spans = (SPAN_F1,) if has_spans else ()
    of_labels = (LABEL_ACCURACY, EXACT_MATCH) if has_labels else ()
    return (ACCURACY, *of_spans, *of_labels, LOSS)


class TagScore:
    """Sums of what is correct on given tokens.

    A multiword token counts as its words: each has a tag that is correct or not. If the predicted tag is that
    of another number of words, all of them are wrong.
    """

    def __init__(self, facts: TaggingFacts) -> None:
        """Initialize.

        Args:
            facts: say whether tags encode spans, and which tags are those of several words.
        """
        self._facts = facts
        self.spans = SpanScores() if facts.has_spans else None
        self.loss = 0.0
        self.scored = self.examples = self.tokens = self.words = self.correct = 0
        self.labels = self.correct_labels = self.exact = 0
        self._of_examples = array("q")
        """Five numbers of each example, see `outcomes`."""

    def add(self, gold: Sequence[str], predicted: Sequence[str], correct_label: bool | None) -> None:
        """Add an example: true and predicted tags, and whether its label is correct if it has one."""
        correct = words = 0
        for tag, found in zip(gold, predicted, strict=True):
            number = len(self._facts.word_tags(tag))
            words += number
            correct += number if tag == found else self._partly(tag, found)
        self.examples += 1
        self.words += words
        self.tokens += len(gold)
        self.correct += correct
        before = Score() if self.spans is None else self.spans.overall
        if self.spans is not None:
            self.spans.add(gold, predicted)
        after = Score() if self.spans is None else self.spans.overall
        self._of_examples.extend((correct, words, *(b - a for a, b in zip(before, after, strict=True))))
        if correct_label is not None:
            self.labels += 1
            self.correct_labels += bool(correct_label)
            self.exact += bool(correct_label) and correct == words

    def _partly(self, tag: str, found: str) -> int:
        """Return the number of correct words of a token whose tag is wrong."""
        gold, predicted = self._facts.word_tags(tag), self._facts.word_tags(found)
        return sum(map(str.__eq__, gold, predicted)) if len(gold) == len(predicted) else 0

    def add_loss(self, loss: float, tokens: int) -> None:
        """Add a loss in nats that is a sum over a number of tokens."""
        self.loss += loss
        self.scored += tokens

    def outcomes(self) -> dict[str, Outcomes]:
        """Return the outcomes of span F1 if tags encode spans, and of accuracy."""
        columns = np.array(self._of_examples, np.float64).reshape(-1, 5).T
        correct, words, gold, predicted, hits = columns
        of_spans = {SPAN_F1.name: f1(hits, predicted, gold)} if self.spans is not None else {}
        return {**of_spans, ACCURACY.name: Outcomes(correct, words)}

    def metrics(self) -> dict[str, Any]:
        """Return the metrics by the names of `evaluate --json`; no loss if none was added."""
        found: dict[str, Any] = {"loss": self.loss / self.scored} if self.scored else {}
        found["accuracy"] = self.correct / max(self.words, 1)
        if self.spans is not None:
            found |= _span_metrics(self.spans)
        if self.labels:
            found |= {
                "label_accuracy": self.correct_labels / self.labels,
                "exact_match": self.exact / self.labels,
            }
        return found


def _span_metrics(scores: SpanScores) -> dict[str, Any]:
    overall = scores.overall
    return {
        "span_f1": overall.f1,
        "span_precision": overall.precision,
        "span_recall": overall.recall,
        "per_type": {
            label: {"precision": s.precision, "recall": s.recall, "f1": s.f1, "support": s.gold}
            for label, s in scores.by_label.items()
        },
    }
