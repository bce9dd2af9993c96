"""What the report of a run says of a translator: scores by length, good and bad translations, attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.page.blocks import Block, Figure, Paragraph, Section, Table
from app.page.figures import COLOURS, figure
from app.tasks.translation.bleu import bleu
from app.tasks.translation.facts import TranslationFacts
from data.formats import Row
from data.prepared import Dataset

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

MOST_PAIRS = 1000
SHOWN = 10
ATTENTION_WORDS = (4, 16)
"""Fewest and most words of a source whose attention weights are drawn."""
MOST_TOKENS = 40
"""Most rows of a picture of attention weights, and most columns."""
PLACES = {"Among the best": 0.1, "In the middle": 0.5, "Among the worst": 0.9}
"""Translations whose attention is drawn, by their rank as a share."""
GROUPS = 6
"""Groups of similar length."""


class Pair(NamedTuple):
    """A source with its reference and its translation."""

    source: str
    reference: str
    translation: str
    chrf: float


def translation_report(predictor: Predictor, dataset: Dataset, split: str) -> list[Section]:
    """Return the sections of a translator."""
    pairs = _pairs(predictor, dataset, split)
    facts = predictor.info.preprocessing.facts
    assert isinstance(facts, TranslationFacts)
    return [
        Section("Scores by length", list(_by_length(pairs, facts.bleu_tokenizer))),
        Section("Translations", list(_best_and_worst(pairs))),
        Section("Attention", list(_attention(predictor, pairs))),
    ]


def _pairs(predictor: Predictor, dataset: Dataset, split: str) -> list[Pair]:
    from sacrebleu import sentence_chrf

    from app.tasks import get_task

    predict = get_task(predictor.info.task).predictions.predict
    found: list[Pair] = []
    for batch in dataset.batches(split, size=MOST_PAIRS):
        sources, references = (
            [text.decode(errors="replace") for text in batch[name]] for name in ("source", "target")
        )
        lines = predict(predictor, [Row(i, {"text": text}) for i, text in enumerate(sources, 1)])
        for source, reference, line in zip(sources, references, lines, strict=True):
            score = sentence_chrf(line["text"], [reference]).score
            found.append(Pair(source, reference, line["text"], score))
        if len(found) >= MOST_PAIRS:
            break
    return found[:MOST_PAIRS]


def _by_length(pairs: Sequence[Pair], tokenizer: str) -> Iterator[Block]:
    lengths = np.array([len(pair.source.split()) for pair in pairs])
    order = np.argsort(lengths, kind="stable")
    groups = [group for group in np.array_split(order, min(GROUPS, len(order))) if len(group)]
    scores = [
        bleu([pairs[i].translation for i in group], [pairs[i].reference for i in group], tokenizer)[0]
        for group in groups
    ]

    def draw(axes: Any) -> None:
        names = [f"{lengths[group].min()}-{lengths[group].max()}" for group in groups]
        axes.bar(range(len(groups)), scores, color=COLOURS[0])
        axes.set_xticks(range(len(groups)), names)
        axes.set(xlabel="words in the source", ylabel="BLEU, from 0 to 100")

    yield Figure(figure(draw, height=2.4), "BLEU of groups of equal size, from short to long sources.")


def _best_and_worst(pairs: Sequence[Pair]) -> Iterator[Block]:
    ranked = sorted(pairs, key=lambda pair: pair.chrf)
    yield Paragraph("By chrF (Popović 2015) of the single sentence.")
    for caption, chosen in (("Worst", ranked[:SHOWN]), ("Best", ranked[::-1][:SHOWN])):
        yield Table(
            ["source", "translation", "reference", "chrF"],
            [[own.source, own.translation, own.reference, f"{own.chrf:.1f}"] for own in chosen],
            texts=3,
            caption=caption,
        )


def _attention(predictor: Predictor, pairs: Sequence[Pair]) -> Iterator[Block]:
    """Yield the attention weights of a good, a middling and a bad translation (Bahdanau et al. 2015)."""
    from app.tasks import get_task

    explanation = get_task(predictor.info.task).predictions.explanation
    assert explanation is not None
    if explanation.signature not in predictor.signatures:
        return
    fewest, most = ATTENTION_WORDS
    ranked = sorted(pairs, key=lambda pair: -pair.chrf)
    usual = [own for own in ranked if fewest <= len(own.source.split()) <= most] or ranked
    chosen = {name: usual[int(place * (len(usual) - 1))] for name, place in PLACES.items()}
    yield Paragraph(
        "Each row is a token of the translation, and its bright cells are the source tokens that the decoder "
        "looked at to write it."
    )
    outputs = predictor.run_texts(explanation.signature, [own.source.encode() for own in chosen.values()])
    for i, (name, pair) in enumerate(chosen.items()):
        weights = explanation.to_json({name: values[i] for name, values in outputs.items()})
        if weights["source"] and weights["target"]:
            few = {name: values[:MOST_TOKENS] for name, values in weights.items()}
            yield Figure(_heat_map(**few), f"{name} (chrF {pair.chrf:.1f}): {pair.translation}")


def _heat_map(source: Sequence[str], target: Sequence[str], attention: Sequence[Sequence[float]]) -> str:
    """Return a picture of attention weights, a column for each source token."""

    def draw(axes: Any) -> None:
        image = axes.imshow(np.array(attention), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(source)), source, rotation=90, parse_math=False)
        axes.set_yticks(range(len(target)), target, parse_math=False)
        axes.set(xlabel="tokens of the source", ylabel="tokens of the translation")
        axes.grid(visible=False)
        axes.figure.colorbar(image, ax=axes, label="attention weight, from 0 to 1")

    return figure(draw, width=3.2 + 0.25 * len(source), height=2.8 + 0.22 * len(target))
