"""Many to one: the class of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Answers, Batch, Task
from data.errors import UserError
from data.prepared import ALL_SPLITS, Dataset, Scan
from data.readers import Field

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.config import Config
    from models.text import Preprocessor

DIGITS = 6


def _scores(predicted: np.ndarray, targets: np.ndarray, classes: int) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(targets, predicted)),
        "macro_f1": float(
            f1_score(targets, predicted, labels=range(classes), average="macro", zero_division=0)
        ),
    }


class Classification(Task):
    """Sentiment, topic, the intent of a message."""

    name = "classification"
    formats = ("jsonl", "csv", "tsv")
    metric = "accuracy"

    def fields(self, config: Config) -> tuple[Field, ...]:
        """The text and its label."""
        return (
            Field("text", "text", config.data.text_column, "--set data.text_column=NAME"),
            Field("label", "label", config.data.label_column, "--set data.label_column=NAME"),
        )

    def check(self, found: Scan) -> None:
        """At least two classes to learn, and no class elsewhere that training never sees."""
        train = found.labels.get("train", Counter())
        if not found.rows["train"]:
            raise UserError("the data has no rows to train on; give a larger file, or a folder with train.*")
        if len(train) < 2:
            only = next(iter(train), None)
            raise UserError(f"only one class in the training rows ({only!r}); expected at least two")
        for split, counts in found.labels.items():
            if unseen := sorted(set(counts) - set(train)):
                shown = ", ".join(repr(label) for label in unseen[:5]) + (" …" if len(unseen) > 5 else "")
                raise UserError(
                    f"label {shown} in the {split} rows, but never in the training rows; "
                    "give it training rows or take it out"
                )

    def check_known(self, found: Scan, split: str, labels: Sequence[str]) -> None:
        """Every label is one of the model's."""
        present = set().union(
            *(counts for name, counts in found.labels.items() if split in (name, ALL_SPLITS))
        )
        if unknown := sorted(present - set(labels)):
            raise UserError(
                f"label {unknown[0]!r} (split {split}) is none of the model's: {', '.join(labels[:10])}"
            )

    def targets(self, batch: Batch, dataset: Dataset, labels: Sequence[str]) -> np.ndarray:
        """Class ids: int32 [B]."""
        ids: np.ndarray = batch["label"]
        if len(ids) and ids.min() < 0:
            raise UserError(f"{dataset.name}: a row has no label (it is {ids.min()}); choose another split")
        if dataset.labels == tuple(labels):
            same: np.ndarray = ids.astype(np.int32)
            return same
        places = {label: i for i, label in enumerate(labels)}
        if unknown := sorted({dataset.labels[i] for i in set(ids.tolist())} - set(places)):
            raise UserError(
                f"{dataset.name}: label {unknown[0]!r} is none of the model's: {', '.join(labels[:10])}"
            )
        return np.array([places[dataset.labels[i]] for i in ids], np.int32)

    def row_weights(self, targets: np.ndarray, config: Config) -> np.ndarray:
        """1 for each row, or inverse to the frequency of its class."""
        if config.training.class_weights == "none":
            return np.ones(len(targets), np.float32)
        counts = np.bincount(targets)
        return np.asarray(len(targets) / (np.count_nonzero(counts) * counts[targets]), np.float32)

    def build_model(self, config: Config, *, token_counts: np.ndarray, labels: Sequence[str]) -> keras.Model:
        """A `models.classifier.Classifier`."""
        from models.classifier import Classifier

        model = config.model
        classifier = Classifier(
            vocabulary_size=len(token_counts),
            classes=len(labels),
            embedding_size=model.embedding_size,
            cell=model.cell,
            units=model.units,
            layers=model.layers,
            bidirectional=model.bidirectional,
            merge_mode=model.merge_mode,
            pooling=model.pooling,
            dropout=model.dropout,
            recurrent_dropout=model.recurrent_dropout,
            word_dropout=model.word_dropout,
            activation=model.activation,
        )
        classifier.build()
        classifier.word_dropout.drop_rare(token_counts, model.rare_word_dropout * token_counts.sum())
        return classifier

    def loss(self, logits: tf.Tensor, targets: tf.Tensor, *, label_smoothing: float = 0.0) -> tf.Tensor:
        """Cross-entropy with the softmax of the logits."""
        import tensorflow as tf

        classes = logits.shape[-1]
        expected = tf.one_hot(targets, classes) * (1 - label_smoothing) + label_smoothing / classes
        return tf.nn.softmax_cross_entropy_with_logits(expected, tf.cast(logits, tf.float32))

    def hits(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """1 where the highest logit is the target's."""
        import tensorflow as tf

        best = tf.argmax(logits, axis=-1, output_type=targets.dtype)
        return tf.cast(tf.equal(best, targets), tf.float32)

    def validation_metrics(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Accuracy and macro F1."""
        return _scores(logits.argmax(axis=-1), targets, logits.shape[-1])

    def signatures(
        self, preprocessor: Preprocessor, model: keras.Model, labels: Sequence[str]
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """`serving_default`: `text` → `label`, `score`, `probabilities`, `classes`."""
        import tensorflow as tf

        names = tf.constant(list(labels))

        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            probabilities = tf.nn.softmax(tf.cast(model(*preprocessor(text), training=False), tf.float32))
            return {
                "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
                "score": tf.reduce_max(probabilities, axis=-1),
                "probabilities": probabilities,
                "classes": tf.tile(names[None], [tf.shape(text)[0], 1]),
            }

        texts = tf.TensorSpec([None], tf.string, "text")
        return {self.signature: tf.function(serving_default, input_signature=[texts], autograph=False)}

    def lines(self, answers: Answers) -> list[dict[str, Any]]:
        """`label`, `score` and `probabilities` by label."""
        return [
            {
                "label": label.decode(),
                "score": round(float(score), DIGITS),
                "probabilities": {
                    name.decode(): round(float(p), DIGITS) for name, p in zip(names, row, strict=True)
                },
            }
            for label, score, row, names in zip(
                answers["label"],
                answers["score"],
                answers["probabilities"],
                answers["classes"],
                strict=True,
            )
        ]

    def evaluate(self, answers: Answers, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        """Loss, accuracy, macro F1, figures of each class, and the confusion (rows: truth)."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        probabilities = answers["probabilities"].astype(np.float64)
        predicted = probabilities.argmax(axis=-1)
        right = probabilities[np.arange(len(targets)), targets]
        classes = range(len(labels))
        figures = precision_recall_fscore_support(targets, predicted, labels=classes, zero_division=0)
        return {
            "loss": float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()),
            **_scores(predicted, targets, len(labels)),
            "per_class": {
                label: {
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(f1),
                    "support": int(support),
                }
                for label, precision, recall, f1, support in zip(labels, *figures, strict=True)
            },
            "confusion": confusion_matrix(targets, predicted, labels=classes).tolist(),
        }

    def baseline(
        self,
        train: tuple[Sequence[bytes], np.ndarray],
        test: tuple[Sequence[bytes], np.ndarray],
        labels: Sequence[str],
        *,
        seed: int,
    ) -> dict[str, Any]:
        """Multinomial logistic regression on TF-IDF of word uni- and bigrams."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, decode_error="replace", dtype=np.float32),
            LogisticRegression(C=10.0, max_iter=1000, random_state=seed),
        )
        try:
            model.fit(train[0], train[1])
        except ValueError as error:  # scikit-learn: no words at all
            return {"error": str(error)}
        return _scores(model.predict(test[0]), test[1], len(labels))


TASK = Classification()
