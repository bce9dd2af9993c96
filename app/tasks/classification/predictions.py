"""Predicted classes: as JSON, evaluated, explained, and compared with a linear model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Facts, Preprocessing
from app.tasks.base import ExampleBatch, Explanation, OutputArrays, Predictions, Split
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.scores import confusion, per_class, scores
from app.tasks.labels import label_ids
from data.prepared import Dataset

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.signature import Signature

DIGITS = 6
MOST_BASELINE_EXAMPLES = 100_000
"""The baseline holds its training examples in memory; of more examples it uses the first ones."""


def _importances(row: Mapping[str, Any]) -> dict[str, Any]:
    length = int(row["length"])
    columns = (row[key][:length] for key in ("tokens", "start", "end", "importance"))
    return {
        "label": row["label"].decode(),
        "tokens": [
            {
                "text": text.decode(errors="replace"),
                "start": int(start),
                "end": int(end),
                "importance": round(float(importance), DIGITS),
            }
            for text, start, end, importance in zip(*columns, strict=True)
        ],
    }


class ClassificationPredictions(Predictions[ClassificationConfig, Facts]):
    """Predictions of a classifier."""

    baseline_name = "linear baseline"
    explanation = Explanation("explain", _importances)

    def signatures(
        self,
        module: tf.Module,
        model: keras.Model,
        preprocessing: Preprocessing[Facts],
        config: ClassificationConfig,
    ) -> dict[str, Signature]:
        """Return `serving_default` and `explain`."""
        from app.tasks.classification.signatures import signatures

        return signatures(module, model, preprocessing, config)

    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return `label`, `score`, and `probabilities` by label."""
        columns = (outputs[name] for name in ("label", "score", "probabilities", "classes"))
        return [
            {
                "label": label.decode(),
                "score": round(float(score), DIGITS),
                "probabilities": {
                    name.decode(): round(float(p), DIGITS) for name, p in zip(names, row, strict=True)
                },
            }
            for label, score, row, names in zip(*columns, strict=True)
        ]

    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> dict[str, Any]:
        """Return loss (nats per example), metrics, metrics of each class, and the confusion matrix."""
        labels = predictor.info.preprocessing.labels
        parts = [
            (
                predictor.run_texts(self.signature, batch["text"])["probabilities"],
                label_ids(batch, dataset, labels),
            )
            for batch in examples
        ]
        probabilities = np.concatenate([part for part, _ in parts]).astype(np.float64)
        targets = np.concatenate([part for _, part in parts])
        predicted = probabilities.argmax(axis=-1)
        of_target = probabilities[np.arange(len(targets)), targets]
        return {
            "examples": len(targets),
            "loss": float(-np.log(np.maximum(of_target, np.finfo(np.float32).tiny)).mean()),
            **scores(predicted, targets, len(labels)),
            "per_class": per_class(predicted, targets, [label.decode() for label in labels]),
            "confusion": confusion(predicted, targets, len(labels)),
        }

    def baseline(self, train: Split, test: Split, predictor: Predictor) -> dict[str, Any] | None:
        """Evaluate multinomial logistic regression on TF-IDF of word uni- and bigrams."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        labels = predictor.info.preprocessing.labels
        texts, targets = _texts(train, labels, MOST_BASELINE_EXAMPLES)
        test_texts, test_targets = _texts(test, labels, None)
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, decode_error="replace", dtype=np.float32),
            LogisticRegression(C=10.0, max_iter=1000, random_state=predictor.info.config.seed),
        )
        try:
            model.fit(texts, targets)
        except ValueError as error:  # of scikit-learn, if there are no words at all
            return {"error": str(error)}
        return {**scores(model.predict(test_texts), test_targets, len(labels)), "rows": len(texts)}


def _texts(split: Split, labels: Sequence[bytes], most: int | None) -> tuple[list[bytes], np.ndarray]:
    """Return the texts and label ids int32 [N] of the first `most` examples."""
    dataset, examples = split
    texts: list[bytes] = []
    targets: list[np.ndarray] = []
    for batch in examples:
        texts.extend(batch["text"])
        targets.append(label_ids(batch, dataset, labels))
        if most is not None and len(texts) >= most:
            break
    return texts[:most], np.concatenate(targets)[:most]
