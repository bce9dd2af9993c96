"""What the report of a run says of a tagger: types, confusions of tags, and mistakes in their sentences."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

MOST_SENTENCES = 2000
MOST_TAGS = 40
"""Tags of the matrix, the most frequent ones."""


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
    sentences = _sentences(predictor, dataset, split)
    sections = [
        Section("Types of spans", list(_types(result))),
        Section("Confusions", list(_confusions(sentences))),
        Section("Mistakes", list(_mistakes(sentences))),
        Section("Raw text", list(_raw(result))),
    ]
    if "label_reliability" in result:
        sections.append(Section("Certainty of labels", list(certainty_blocks(result, "label_"))))
    return sections


def _sentences(predictor: Predictor, dataset: Dataset, split: str) -> list[Sentence]:
    facts = predictor.info.preprocessing.facts
    assert isinstance(facts, TaggingFacts)
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


def _confusions(sentences: Sequence[Sentence]) -> Iterator[Block]:
    pairs = Counter(
        pair for sentence in sentences for pair in zip(sentence.gold, sentence.found, strict=True)
    )
    frequent = Counter(tag for sentence in sentences for tag in sentence.gold).most_common(MOST_TAGS)
    names = [tag for tag, _ in frequent]
    counts = np.array([[pairs[true, found] for found in names] for true in names], float)
    caption = f"Predicted tags of each of the {len(names)} most frequent tags."
    yield confusion_figure(counts, names, "tag", caption)
    wrong = [(count, *pair) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    if wrong:
        yield confusion_table(wrong, "tokens")


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


def _raw(result: Mapping[str, Any]) -> Iterator[Block]:
    if raw := result.get("raw_text"):
        yield Table(
            ["metric", "on raw text"],
            [
                [name.replace("_", " "), value if isinstance(value, str) else f"{value:.4f}"]
                for name, value in raw.items()
            ],
            caption="Where the tokenizer must find the tokens",
        )
