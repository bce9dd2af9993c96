"""How good tags are: on given tokens, and on raw text, where the tokens must be found first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.tags import SpanScores, spans


class TagScore:
    """Adds up what is right on given tokens."""

    def __init__(self, has_spans: bool) -> None:
        self.spans = SpanScores() if has_spans else None
        self.loss = 0.0
        self.judged = self.rows = self.tokens = self.hits = self.labels = self.right_labels = self.exact = 0

    def add(self, gold: Sequence[str], found: Sequence[str], right_label: bool | None) -> None:
        """One row: its tags and those found; whether its label is right, if it has one."""
        hits = sum(a == b for a, b in zip(gold, found, strict=True))
        self.rows += 1
        self.tokens += len(gold)
        self.hits += hits
        if self.spans is not None:
            self.spans.add(gold, found)
        if right_label is not None:
            self.labels += 1
            self.right_labels += bool(right_label)
            self.exact += bool(right_label) and hits == len(gold)

    def add_loss(self, loss: float, tokens: int) -> None:
        """The loss of rows, in nats, and how many tokens they have."""
        self.loss += loss
        self.judged += tokens

    def figures(self) -> dict[str, Any]:
        """By the names of `evaluate --json`; no loss where none was added."""
        found: dict[str, Any] = {"loss": self.loss / self.judged} if self.judged else {}
        found["accuracy"] = self.hits / max(self.tokens, 1)
        if self.spans is not None:
            found |= _span_figures(self.spans)
        if self.labels:
            found |= {
                "label_accuracy": self.right_labels / self.labels,
                "exact_match": self.exact / self.labels,
            }
        return found


def _span_figures(scores: SpanScores) -> dict[str, Any]:
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
    """Adds up what is right on raw text: a token counts where its place and its tag are right.

    A gold token's place is where it stands in the text behind the token before; one that is not written
    there as it is (a part of a contraction) has none, and cannot be found.
    """

    def __init__(self, has_spans: bool) -> None:
        self.has_spans = has_spans
        self.rows = self.gold = self.found = self.cut = self.tagged = 0
        self.gold_spans = self.found_spans = self.right_spans = 0

    def add(self, text: str, tokens: Sequence[str], tags: Sequence[str], line: Mapping[str, Any]) -> None:
        """One row: its text, its tokens and tags, and the answer to its text."""
        places = _places(text, tokens)
        gold = {place: tag for place, tag in zip(places, tags, strict=True) if place}
        found = {(t["start"], t["end"]): t["tag"] for t in line["tokens"]}
        self.rows += 1
        self.gold += len(tokens)
        self.found += len(found)
        self.cut += len(gold.keys() & found.keys())
        self.tagged += len(gold.items() & found.items())
        if self.has_spans:
            own = set()
            for span in spans(tags):
                first, last = places[span.start], places[span.end - 1]
                own.add((span.label, first and first[0], last and last[1]))
            answers = {(s["label"], s["start"], s["end"]) for s in line["spans"]}
            self.gold_spans += len(spans(tags))
            self.found_spans += len(answers)
            self.right_spans += len(own & answers)

    def figures(self) -> dict[str, float]:
        """F1 of tokens, of tokens with their tags, and of spans."""
        total = max(self.gold + self.found, 1)
        figures = {"token_f1": 2 * self.cut / total, "tag_f1": 2 * self.tagged / total}
        if self.has_spans:
            figures["span_f1"] = 2 * self.right_spans / max(self.gold_spans + self.found_spans, 1)
        return figures


def _places(text: str, tokens: Sequence[str]) -> list[tuple[int, int] | None]:
    """Where tokens stand in a text, one behind the other; None for one that is not written as it is."""
    places: list[tuple[int, int] | None] = []
    position = 0
    lost = False
    for token in tokens:
        start = text.find(token, position)
        # Only white space may be skipped, unless the tokens before are written otherwise.
        if start < 0 or (text[position:start].strip() and not lost):
            places.append(None)
            lost = True
            continue
        places.append((start, start + len(token)))
        position = start + len(token)
        lost = False
    return places
