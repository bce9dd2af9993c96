"""Predicted classes of sentence pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.bootstrap import correct
from app.metrics import ACCURACY
from app.tasks.base import Evaluation, ExampleBatch, OutputArrays, Predictions
from app.tasks.card import TaskCard, layers
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.scores import confusion, per_class, scores
from app.tasks.classification.task import TASK as CLASSIFICATION
from app.tasks.labels import label_ids
from data.formats import Field, Row
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.signature import Signature


class PairPredictions(Predictions[Any, ClassificationFacts]):
    """Predictions of a classifier of sentence pairs."""

    def signatures(
        self,
        module: tf.Module,
        model: keras.Model,
        preprocessing: Preprocessing[ClassificationFacts],
        config: Any,
    ) -> dict[str, Signature]:
        """Return `serving_default`."""
        from pairs.signatures import signatures

        return signatures(module, model, preprocessing, config)

    def input_fields(self, config: Any, text_column: str | None) -> tuple[Field, ...]:
        """Return both texts."""
        return (
            Field("first", "text", text_column or config.data.first_column, "--text-column NAME"),
            Field("second", "text", config.data.second_column, "--set data.second_column=NAME"),
        )

    def predict(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return `label`, `score` and `probabilities` of each pair."""
        return self.to_json(_run(predictor, *([row.text(n).encode() for row in rows] for n in TEXTS)))

    def card(self, preprocessing: Preprocessing[ClassificationFacts], config: Any) -> TaskCard:
        """Return the sentences of a classifier of pairs."""
        example = dict.fromkeys(TEXTS, "good")
        return TaskCard(
            pipeline="text-classification",
            purpose="It gives a pair of texts a label.",
            network=f"Embeddings and {layers(config.model)}.",
            limits=[],
            command=f"echo '{json.dumps(example)}' | textrnn predict MODEL --format jsonl",
            call=f"predict({[*example.values()]})",
            inputs=example,
        )

    def answer(self, predictor: Predictor, text: str) -> object:
        """Predict the label of a text and itself."""
        return self.predict(predictor, [Row(1, dict.fromkeys(TEXTS, text))])

    def sample_inputs(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return each text, and itself as second text."""
        return {name: np.array(texts, object) for name in TEXTS}

    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return what a classifier returns."""
        return CLASSIFICATION.predictions.to_json(outputs)

    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> Evaluation:
        """Return the metrics of classification, and which examples are correct."""
        labels = predictor.info.preprocessing.labels
        parts = [
            (
                _run(predictor, batch["first"], batch["second"])["probabilities"],
                label_ids(batch, dataset, labels),
            )
            for batch in examples
        ]
        probabilities, targets = (np.concatenate(column) for column in zip(*parts, strict=True))
        predicted = probabilities.argmax(axis=-1)
        metrics = {
            "examples": len(targets),
            "loss": float(-np.log(probabilities[np.arange(len(targets)), targets]).mean()),
            **scores(predicted, targets, len(labels)),
            "per_class": per_class(predicted, targets, [label.decode() for label in labels]),
            "confusion": confusion(predicted, targets, len(labels)),
        }
        return Evaluation(metrics, {ACCURACY.name: correct(predicted == targets)})


TEXTS = ("first", "second")


def _run(predictor: Predictor, first: Sequence[bytes], second: Sequence[bytes]) -> OutputArrays:
    return predictor.run("serving_default", {"first": first, "second": second})
