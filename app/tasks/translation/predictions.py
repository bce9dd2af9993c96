"""Translations: as JSON, evaluated and explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.metrics import token_scores
from app.page.blocks import Section
from app.tasks.base import (
    Evaluation,
    ExampleBatch,
    Explanation,
    OutputArrays,
    Predictions,
    Unlabelled,
    by_row,
)
from app.tasks.card import TaskCard
from app.tasks.translation.card import translation_card
from app.tasks.translation.config import DecodingConfig, TranslationConfig
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.monitoring import MONITORING
from app.tasks.translation.scores import corpus_scores
from data.errors import UserError
from data.formats import Field, Row
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.inspection import Inspection
    from app.tasks.signature import Signature

DIGITS = 6


def _attention(row: Mapping[str, Any]) -> dict[str, Any]:
    source, target = int(row["source_length"]), max(int(row["target_length"]) - 1, 0)  # without the end token
    return {
        "source": [token.decode(errors="replace") for token in row["source"][:source]],
        "target": [token.decode(errors="replace") for token in row["target"][:target]],
        "attention": [
            [round(float(weight), DIGITS) for weight in weights[:source]]
            for weights in row["attention"][:target]
        ],
    }


class TranslationPredictions(Predictions[TranslationConfig, TranslationFacts]):
    """Predictions of a translator."""

    monitoring = MONITORING
    most_reported = 300  # a beam search for each
    explanation = Explanation("attention", _attention)

    def signatures(
        self,
        module: tf.Module,
        model: keras.Model,
        preprocessing: Preprocessing[TranslationFacts],
        config: TranslationConfig,
    ) -> dict[str, Signature]:
        """Return `serving_default`, `search`, `score`, and with attention `attention`."""
        from app.tasks.translation.signatures import signatures

        return signatures(module, model, preprocessing, config)

    def score(
        self, predictor: Predictor, texts: Sequence[str], targets: Sequence[str] | None
    ) -> list[dict[str, float]]:
        """Return for each pair the `loss` in nats, summed over its `tokens`, and how many are `correct`."""
        if targets is None:
            raise UserError("a translation model scores pairs: give a target for each text")
        inputs = {"text": [t.encode() for t in texts], "target": [t.encode() for t in targets]}
        return by_row(predictor.run("score", inputs))

    def sample_inputs(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return the texts, themselves as targets too, and the options of a search with two beams."""
        return super().sample_inputs(signature, texts) | {
            "target": np.array(texts, object),
            "width": np.array(2, np.int32),
            "length_penalty": np.array(1, np.float32),
            "coverage_penalty": np.array(0.2, np.float32),
        }

    def input_fields(self, config: TranslationConfig, text_column: str | None) -> tuple[Field, ...]:
        """Return the source text."""
        return (Field("text", "text", text_column or config.data.source, "--text-column NAME", ("text",)),)

    def predict(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the translations, with the beam width of the predictor if it has one."""
        return self.to_json(_translate(predictor, [row.text().encode() for row in rows]))

    def unlabelled(self, predictor: Predictor, rows: Sequence[Row]) -> list[Unlabelled]:
        """Return sources with their translations; those of low probability are uncertain."""
        return [
            Unlabelled(row.text(), {"source": row.text(), "target": line["text"]}, max(-line["score"], 0.0))
            for row, line in zip(rows, self.predict(predictor, rows), strict=True)
        ]

    def card(self, preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig) -> TaskCard:
        """Return the sentences of `app.tasks.translation.card`."""
        return translation_card(preprocessing, config)

    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return `text` and `score` of each row."""
        return [
            {"text": text.decode(errors="replace"), "score": round(float(score), DIGITS)}
            for text, score in zip(outputs["text"], outputs["score"], strict=True)
        ]

    def report(
        self,
        predictor: Predictor,
        inspection: Inspection[TranslationConfig, TranslationFacts],
        dataset: Dataset,
        split: str,
        result: Mapping[str, Any],
    ) -> list[Section]:
        """Return scores by length, the best and the worst translations, and attention weights."""
        from app.tasks.translation.report import translation_report

        return translation_report(predictor, dataset, split)

    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> Evaluation:
        """Return BLEU and chrF of the translations, their mean score, and the loss of the references."""
        loss = tokens = correct = 0.0
        predicted: list[str] = []
        references: list[str] = []
        scores: list[float] = []
        for batch in examples:
            for line in self.to_json(_translate(predictor, batch["source"])):
                predicted.append(line["text"])
                scores.append(line["score"])
            references += [text.decode(errors="replace") for text in batch["target"]]
            outputs = predictor.run("score", {"text": batch["source"], "target": batch["target"]})
            loss += float(outputs["loss"].sum(dtype=np.float64))
            tokens += float(outputs["tokens"].sum())
            correct += float(outputs["correct"].sum())
        facts = predictor.info.preprocessing.facts
        assert isinstance(facts, TranslationFacts)
        return Evaluation(
            {
                "examples": len(predicted),
                **token_scores(loss, correct, tokens),
                **corpus_scores(predicted, references, facts.bleu_tokenizer),
                "mean_score": float(np.mean(scores)),
                "beam": predictor.beam or _decoding(predictor).beam,
            }
        )


def _decoding(predictor: Predictor) -> DecodingConfig:
    config = predictor.info.config
    assert isinstance(config, TranslationConfig)
    return config.decoding


def _translate(predictor: Predictor, texts: Sequence[bytes] | np.ndarray) -> OutputArrays:
    """Translate texts with the search options of the run, or with the beam width of the predictor."""
    if predictor.beam is None:
        return predictor.run_texts(TranslationPredictions.signature, texts)
    import tensorflow as tf

    decoding = _decoding(predictor)
    options = {
        "width": tf.constant(predictor.beam),
        "length_penalty": tf.constant(float(decoding.length_penalty)),
        "coverage_penalty": tf.constant(float(decoding.coverage_penalty)),
    }
    return predictor.run("search", {"text": texts}, shared=options)
