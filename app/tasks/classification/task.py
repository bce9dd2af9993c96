"""Many to one: the class of a text."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Answers, Arrays, Losses, Plan, RowBatch, Task, Vocabularies, evaluated
from app.tasks.labels import check_labels, check_labels_known, label_ids, label_names
from data.batching import Batch, Feed, RowFeed
from data.encoding import Encoded, UniqueTokens
from data.formats import Field, read_csv, read_jsonl, read_tsv
from data.prepared import Dataset, Scan

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.artifacts.run import Run
    from app.config import Config
    from app.prediction.predictor import Predictor

DIGITS = 6
MOST_BASELINE_ROWS = 100_000
"""The baseline holds its rows in memory: of more than so many it learns from the first ones."""


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
    formats: Mapping[str, Any] = {"jsonl": read_jsonl, "csv": read_csv, "tsv": read_tsv}
    metric = "accuracy"
    batched = ("serving_default", "explain")
    validation_names = ("accuracy", "macro_f1")
    baseline_name = "linear baseline"

    def fields(self, config: Config) -> tuple[Field, ...]:
        """The text and its label."""
        return (
            Field("text", "text", config.data.text_column, "--set data.text_column=NAME"),
            Field("label", "label", config.data.label_column, "--set data.label_column=NAME"),
        )

    def check(self, found: Scan) -> None:
        """There are rows, and at least two classes to learn."""
        super().check(found)
        check_labels(found)

    def check_known(self, found: Scan, split: str, vocabularies: Vocabularies) -> None:
        """Every label is one of the model's."""
        check_labels_known(found, split, vocabularies["labels"])

    def plan(self, dataset: Dataset, config: Config, training: Callable[[], Iterator[RowBatch]]) -> Plan:
        """One sequence, `tokens`, and the label."""
        from app.tasks.tokenizing import text_cutter

        cutter = text_cutter(config, lambda: (batch["text"] for batch in training()))
        labels = label_names(dataset)

        def cut(batch: RowBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            return {"tokens": cutter.cut(batch["text"])}, {"label": label_ids(batch, dataset, labels)}

        return Plan(cut, {"tokens": "vocabulary"}, {"vocabulary": cutter.rule}, cutter.learned)

    def vocabularies(self, encoded: Encoded, dataset: Dataset, config: Config) -> dict[str, list[bytes]]:
        """The tokens and the labels."""
        return {**encoded.vocabularies, "labels": label_names(dataset)}

    def feed(self, encoded: Encoded, split: str, vocabularies: Vocabularies, config: Config) -> Feed:
        """Texts of like length, each with its label and its weight in the loss."""
        rows = encoded.splits[split]
        tokens, labels = rows.sequences["tokens"], rows.columns["label"]
        weights = np.ones(len(labels), np.float32)
        if config.training.class_weights == "balanced":
            counts = np.bincount(labels)
            weights = np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]), np.float32)

        def make(indices: np.ndarray) -> Batch:
            ids, lengths = tokens.batch(indices)
            arrays = {"ids": ids, "lengths": lengths, "targets": labels[indices], "weights": weights[indices]}
            return Batch(arrays, len(indices), int(lengths.sum()))

        return RowFeed(tokens.lengths, make, batch_size=config.training.batch_size)

    def build_model(self, config: Config, encoded: Encoded, vocabularies: Vocabularies) -> keras.Model:
        """A `models.classifier.Classifier`."""
        from models.classifier import Classifier
        from models.settings import ClassifierSettings

        model = config.model
        token_counts = encoded.counts["vocabulary"]
        classifier = Classifier(
            ClassifierSettings.of(config.model),
            vocabulary_size=len(token_counts),
            classes=len(vocabularies["labels"]),
        )
        classifier.build()
        classifier.word_dropout.drop_rare(token_counts, model.rare_word_dropout * token_counts.sum())
        return classifier

    def register_model(self) -> None:
        """A `models.classifier.Classifier`."""
        importlib.import_module("models.classifier")

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Cross-entropy of each row; a hit is a row whose highest logit is its label's."""
        import tensorflow as tf

        from models.losses import cross_entropy, number_correct

        logits = model(batch["ids"], batch["lengths"], training=True)
        losses = cross_entropy(logits, batch["targets"], label_smoothing)
        return Losses(
            tf.reduce_mean(losses * batch["weights"]),
            number_correct(logits, batch["targets"]),
            tf.cast(tf.shape(losses)[0], tf.float32),
        )

    def evaluator(
        self, model: keras.Model, feed: Feed, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], dict[str, float]]:
        """Loss (nats a row), accuracy and macro F1."""
        from models.losses import cross_entropy

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            logits = model(batch["ids"], batch["lengths"], training=False)
            return {"logits": logits, "loss": cross_entropy(logits, batch["targets"])}

        def figures(batches: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            logits = np.concatenate([output["logits"] for output in outputs])
            targets = np.concatenate([batch["targets"] for batch in batches])
            loss = float(np.concatenate([output["loss"] for output in outputs]).mean())
            return {"loss": loss, **_scores(logits.argmax(axis=-1), targets, logits.shape[-1])}

        return evaluated(step, feed, figures)

    def signatures(
        self, module: tf.Module, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """`serving_default`: `text` → `label`, `score`, `probabilities`, `classes`.

        `explain`: `text` → `tokens`, `start`, `end`, `importance`, `length`, `label`.
        """
        import tensorflow as tf

        from app.tasks.tokenizing import cutting_options
        from models.text.positions import positions
        from models.text.preprocessor import Preprocessor
        from models.text.tokenize import tokenize

        options = cutting_options(config, vocabularies)
        preprocessor = module.preprocessor = Preprocessor(vocabularies["vocabulary"], **options)
        labels = list(vocabularies["labels"])

        def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
            names = tf.constant(labels)  # of the graph: what a graph captures is handed to it in each call
            probabilities = tf.nn.softmax(tf.cast(model(*preprocessor(text), training=False), tf.float32))
            return {
                "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
                "score": tf.reduce_max(probabilities, axis=-1),
                "probabilities": probabilities,
                "classes": tf.tile([labels], [tf.size(text), 1]),
            }

        def explain(text: tf.Tensor) -> dict[str, tf.Tensor]:
            pieces = tokenize(text, **preprocessor.options)
            token_ids, lengths = preprocessor.look_up(pieces)
            best = tf.argmax(model(token_ids, lengths, training=False), axis=-1, output_type=tf.int32)
            importance = model.importances(token_ids, lengths, best)
            length = tf.cast(pieces.row_lengths(), tf.int32)
            shape = tf.stack([-1, tf.shape(token_ids)[1]])
            start, end = positions(text, **preprocessor.options)
            return {
                "tokens": pieces.to_tensor("", shape=shape),
                "start": start.to_tensor(0, shape=shape),
                "end": end.to_tensor(0, shape=shape),
                "importance": tf.where(tf.sequence_mask(length, shape[1]), importance, 0.0),
                "length": length,
                "label": tf.gather(tf.constant(labels), best),
            }

        texts = tf.TensorSpec([None], tf.string, "text")
        return {
            self.signature: tf.function(serving_default, input_signature=[texts], autograph=False),
            "explain": tf.function(explain, input_signature=[texts], autograph=False),
        }

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

    def evaluate(
        self, predictor: Predictor, run: Run, dataset: Dataset, rows: Iterable[RowBatch]
    ) -> dict[str, Any]:
        """Loss, accuracy, macro F1, figures of each class, and the confusion (rows: truth)."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        labels = run.vocabularies()["labels"]
        parts = [(predictor(batch["text"]), label_ids(batch, dataset, labels)) for batch in rows]
        answers = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
        targets = np.concatenate([part for _, part in parts])
        probabilities = answers["probabilities"].astype(np.float64)
        predicted = probabilities.argmax(axis=-1)
        right = probabilities[np.arange(len(targets)), targets]
        classes = range(len(labels))
        figures = precision_recall_fscore_support(targets, predicted, labels=classes, zero_division=0)
        return {
            "examples": len(targets),
            "loss": float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()),
            **_scores(predicted, targets, len(labels)),
            "per_class": {
                label.decode(): {
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
        train: tuple[Dataset, Iterable[RowBatch]],
        test: tuple[Dataset, Iterable[RowBatch]],
        run: Run,
    ) -> dict[str, Any] | None:
        """Multinomial logistic regression on TF-IDF of word uni- and bigrams."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        labels = run.vocabularies()["labels"]
        texts, targets = _texts(*train, labels, MOST_BASELINE_ROWS)
        unseen, truth = _texts(*test, labels, None)
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, decode_error="replace", dtype=np.float32),
            LogisticRegression(C=10.0, max_iter=1000, random_state=run.config.seed),
        )
        try:
            model.fit(texts, targets)
        except ValueError as error:  # scikit-learn: no words at all
            return {"error": str(error)}
        return {**_scores(model.predict(unseen), truth, len(labels)), "rows": len(texts)}


def _texts(
    dataset: Dataset, rows: Iterable[RowBatch], labels: Sequence[bytes], most: int | None
) -> tuple[list[bytes], np.ndarray]:
    texts: list[bytes] = []
    targets: list[np.ndarray] = []
    for batch in rows:
        texts.extend(batch["text"])
        targets.append(label_ids(batch, dataset, labels))
        if most is not None and len(texts) >= most:
            break
    return texts[:most], np.concatenate(targets)[:most]


TASK = Classification()
