"""Metrics of tags: on given tokens, and on raw text, where tokenization errors count too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.metrics import ACCURACY, EXACT_MATCH, LABEL_ACCURACY, LOSS, SPAN_F1, Metric
from data.tags import SpanScores, spans


def metrics(*, has_spans: bool, has_labels: bool) -> tuple[Metric, ...]:
    """Return the metrics that may select the best epoch."""
    of_spans = (SPAN_F1,) if has_spans else ()
    of_labels = (LABEL_ACCURACY, EXACT_MATCH) if has_labels else ()
    return (ACCURACY, *of_spans, *of_labels, LOSS)


class TagScore:
    """Sums of what is correct on given tokens."""

    def __init__(self, *, has_spans: bool) -> None:
        self.spans = SpanScores() if has_spans else None
        self.loss = 0.0
        self.scored = self.examples = self.tokens = self.correct = 0
        self.labels = self.correct_labels = self.exact = 0

    def add(self, gold: Sequence[str], predicted: Sequence[str], correct_label: bool | None) -> None:
        """Add an example: true and predicted tags, and whether its label is correct if it has one."""
        correct = sum(a == b for a, b in zip(gold, predicted, strict=True))
        self.examples += 1
        self.tokens += len(gold)
        self.correct += correct
        if self.spans is not None:
            self.spans.add(gold, predicted)
        if correct_label is not None:
            self.labels += 1
            self.correct_labels += bool(correct_label)
            self.exact += bool(correct_label) and correct == len(gold)

    def add_loss(self, loss: float, tokens: int) -> None:
        """Add a loss in nats that is a sum over a number of tokens."""
        self.loss += loss
        self.scored += tokens

    def metrics(self) -> dict[str, Any]:
        """Return the metrics by the names of `evaluate --json`; no loss if none was added."""
        found: dict[str, Any] = {"loss": self.loss / self.scored} if self.scored else {}
        found["accuracy"] = self.correct / max(self.tokens, 1)
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


class RawScore:
    """Sums of what is correct on raw text: both the position and the tag of a token must be correct.

    The position of a gold token is its first occurrence in the text after the previous token. A token that is
    not written as it is in the text, such as a part of a contraction, has no position and counts as missed.
    """

    def __init__(self, *, has_spans: bool) -> None:
        self.has_spans = has_spans
        self.examples = self.gold = self.predicted = self.located = self.correct = 0
        self.gold_spans = self.predicted_spans = self.correct_spans = 0

    def add(self, text: str, tokens: Sequence[str], tags: Sequence[str], line: Mapping[str, Any]) -> None:
        """Add an example: its text, its tokens and tags, and the prediction for its text as JSON."""
        places = token_places(text, tokens)
        gold = {place: tag for place, tag in zip(places, tags, strict=True) if place}
        predicted = {(t["start"], t["end"]): t["tag"] for t in line["tokens"]}
        self.examples += 1
        self.gold += len(tokens)
        self.predicted += len(predicted)
        self.located += len(gold.keys() & predicted.keys())
        self.correct += len(gold.items() & predicted.items())
        if self.has_spans:
            gold_spans = set()
            for span in spans(tags):
                first, last = places[span.start], places[span.end - 1]
                gold_spans.add((span.label, first and first[0], last and last[1]))
            predicted_spans = {(s["label"], s["start"], s["end"]) for s in line["spans"]}
            self.gold_spans += len(spans(tags))
            self.predicted_spans += len(predicted_spans)
            self.correct_spans += len(gold_spans & predicted_spans)

    def metrics(self) -> dict[str, float]:
        """Return the F1 scores of token positions, of tagged tokens, and of spans."""
        total = max(self.gold + self.predicted, 1)
        found = {"token_f1": 2 * self.located / total, "tag_f1": 2 * self.correct / total}
        if self.has_spans:
            found["span_f1"] = 2 * self.correct_spans / max(self.gold_spans + self.predicted_spans, 1)
        return found


def token_places(text: str, tokens: Sequence[str]) -> list[tuple[int, int] | None]:
    """Return the positions of consecutive tokens in a text; None for one that is not written as it is."""
    places: list[tuple[int, int] | None] = []
    position = 0
    lost = False
    for token in tokens:
        start = text.find(token, position)
        # Only white space may lie between two tokens, unless the tokens before have no position.
        if start < 0 or (text[position:start].strip() and not lost):
            places.append(None)
            lost = True
            continue
        places.append((start, start + len(token)))
        position = start + len(token)
        lost = False
    return places
