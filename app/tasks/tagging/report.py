"""What the report of a run says of a tagger: types, confusions, mistakes in their sentences, and raw text."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.page.blocks import Block, MarkedText, Paragraph, Section, Table
from app.tasks.report_blocks import (
    SHOWN,
    certainty_blocks,
    confusion_figure,
    confusion_table,
    score_table,
)
from app.tasks.tagging.examples import learned, tag_names
from app.tasks.tagging.facts import TaggingFacts
from data.prepared import Dataset
from data.tags import spans

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

MOST_SENTENCES = 2000
MOST_TAGS = 40
"""Tags or types of a matrix, the most frequent ones."""
NO_SPAN = "(no span)"


class Sentence(NamedTuple):
    """A sentence with its true and its predicted tags."""

    tokens: Sequence[str]
    gold: Sequence[str]
    found: Sequence[str]

    @property
    def wrong(self) -> list[int]:
        """The places of wrong tags."""
        return [i for i, (own, other) in enumerate(zip(self.gold, self.found, strict=True)) if own != other]


def tagging_report(
    predictor: Predictor, dataset: Dataset, split: str, result: Mapping[str, Any]
) -> list[Section]:
    """Return the sections of a tagger."""
    facts = predictor.info.preprocessing.facts
    assert isinstance(facts, TaggingFacts)
    sentences = _sentences(predictor, facts, dataset, split)
    sections = [
        Section("Types of spans", list(_types(result))),
        Section("Confusions", list(_confusions(sentences, facts))),
        Section("Mistakes", list(_mistakes(sentences))),
        Section("Raw text", list(_raw(result, predictor, dataset, split))),
    ]
    if "label_reliability" in result:
        sections.append(Section("Certainty of labels", list(certainty_blocks(result, "label_"))))
    return sections


def _sentences(predictor: Predictor, facts: TaggingFacts, dataset: Dataset, split: str) -> list[Sentence]:
    found: list[Sentence] = []
    for batch in dataset.batches(split):
        outputs = predictor.run("tokens", {"tokens": batch["tokens"]})
        for i, (tokens, tags) in enumerate(zip(batch["tokens"], tag_names(batch, dataset), strict=True)):
            gold = learned(tags, facts.tag_scheme)
            predicted = [tag.decode() for tag in outputs["tags"][i][: len(gold)]]
            found.append(Sentence([t.decode(errors="replace") for t in tokens], gold, predicted))
        if len(found) >= MOST_SENTENCES:
            break
    return found[:MOST_SENTENCES]


def _types(result: Mapping[str, Any]) -> Iterator[Block]:
    if per_type := result.get("per_type"):
        yield score_table(per_type, "type", "spans")


def _confusions(sentences: Sequence[Sentence], facts: TaggingFacts) -> Iterator[Block]:
    """Yield the confusions of the types of spans, or of tags that encode none."""
    if facts.has_spans:
        pairs = Counter(pair for own in sentences for pair in type_pairs(own.gold, own.found))
        what, unit = "type", "spans"
    else:
        pairs = Counter(pair for own in sentences for pair in zip(own.gold, own.found, strict=True))
        what, unit = "tag", "tokens"
    frequent: Counter[str] = Counter()
    for (true, _), count in pairs.items():
        frequent[true] += count
    names = [name for name, _ in frequent.most_common(MOST_TAGS) if name != NO_SPAN]
    names += [NO_SPAN] if facts.has_spans else []
    counts = np.array([[pairs[true, found] for found in names] for true in names], float)
    yield confusion_figure(
        counts, names, what, f"What is predicted for each {what}, the most frequent first."
    )
    wrong = [(count, *pair) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    if wrong:
        yield confusion_table(wrong, unit)


def type_pairs(gold: Sequence[str], found: Sequence[str]) -> list[tuple[str, str]]:
    """Return the types of true spans with those of the predicted spans that overlap them most.

    A missing span is `NO_SPAN`.
    `type_pairs(["B-a", "I-a", "O", "O"], ["O", "B-b", "O", "B-c"]) -> [("a", "b"), (NO_SPAN, "c")]`
    """
    true, predicted = spans(gold), spans(found)
    pairs, met = [], set()
    for own in true:
        overlaps = [min(own.end, other.end) - max(own.start, other.start) for other in predicted]
        most = max(overlaps, default=0)
        if most > 0:
            place = overlaps.index(most)
            met.add(place)
            pairs.append((own.label, predicted[place].label))
        else:
            pairs.append((own.label, NO_SPAN))
    return pairs + [(NO_SPAN, other.label) for i, other in enumerate(predicted) if i not in met]


def _mistakes(sentences: Sequence[Sentence]) -> Iterator[Block]:
    wrong = [sentence for sentence in sentences if sentence.wrong]
    yield Paragraph(
        f"{len(wrong):,} of {len(sentences):,} sentences have a wrong tag. Those with the most wrong tags:"
        if wrong
        else "There are none."
    )
    for sentence in sorted(wrong, key=lambda own: -len(own.wrong))[:SHOWN]:
        places = set(sentence.wrong)
        parts: list[tuple[str, float]] = []
        for i, token in enumerate(sentence.tokens):
            tags = f" [{sentence.found[i]}, not {sentence.gold[i]}]" if i in places else ""
            parts += [(f"{token}{tags}", -0.6 if i in places else 0.0), (" ", 0.0)]
        yield MarkedText(parts)


def _raw(result: Mapping[str, Any], predictor: Predictor, dataset: Dataset, split: str) -> Iterator[Block]:
    """Yield the scores on raw text and on the given tokens, and where the tokens differ."""
    raw = result.get("raw_text")
    if not raw:
        return
    metrics = [
        ("tokens", None, raw["token_f1"]),
        ("tags of words", result["accuracy"], raw["tag_f1"]),
        ("spans", result.get("span_f1"), raw.get("span_f1")),
    ]
    yield Table(
        ["F1 of", "on the given tokens", "on raw text"],
        [
            [name, "–" if given is None else f"{given:.4f}", f"{found:.4f}"]
            for name, given, found in metrics
            if found is not None
        ],
        caption="On raw text the tokenizer must find the tokens, and wrong tokens have no tags",
    )
    differences = Counter(token_differences(predictor, dataset, split))
    yield Paragraph(
        f"The tokenizer is that of {'the rules' if raw['tokenizer'] == 'rules' else 'the network'}. "
        + ("" if differences else "It finds the given tokens everywhere.")
    )
    if differences:
        shown = differences.most_common(SHOWN)
        yield Table(
            ["given tokens", "found tokens", "times"],
            [[given, found, f"{count:,}"] for (given, found), count in shown],
            texts=2,
            caption="Most frequent differences of the tokens",
            more=len(differences) - len(shown),
        )


def token_differences(predictor: Predictor, dataset: Dataset, split: str) -> Iterator[tuple[str, str]]:
    """Yield the tokens that differ from each other, those given and those found in the same place."""
    rows = 0
    for batch in dataset.batches(split):
        own = np.flatnonzero([bool(text) for text in batch["text"]])[: MOST_SENTENCES - rows]
        if not len(own):
            continue
        rows += len(own)
        outputs = predictor.run_texts("serving_default", batch["text"][own])
        for i, found, length in zip(own, outputs["tokens"], outputs["length"], strict=True):
            given, read = (
                [token.decode(errors="replace") for token in tokens]
                for tokens in (batch["tokens"][i], found[:length])
            )
            matcher = difflib.SequenceMatcher(None, given, read, autojunk=False)
            for change, start, end, first, last in matcher.get_opcodes():
                if change != "equal":
                    yield " · ".join(given[start:end]), " · ".join(read[first:last])
        if rows >= MOST_SENTENCES:
            return
