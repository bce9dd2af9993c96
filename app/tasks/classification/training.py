"""The classifier, its loss and its validation metrics."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.artifacts.preprocessing import Facts, Preprocessing
from app.metrics import Metric
from app.tasks.base import Arrays, Losses, Training, evaluated
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.scores import metrics, scores
from data.batching import Batches

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class ClassificationTraining(Training[ClassificationConfig, Facts]):
    """Training of a `models.classifier.Classifier`."""

    def metrics(self, preprocessing: Preprocessing[Facts]) -> tuple[Metric, ...]:
        """Return the loss (nats per example) and all metrics of `scores`."""
        return metrics()

    def build_model(
        self, config: ClassificationConfig, preprocessing: Preprocessing[Facts], token_counts: np.ndarray
    ) -> keras.Model:
        """Return a `models.classifier.Classifier`."""
        from models.classifier import Classifier

        model = config.model
        classifier = Classifier(
            vocabulary_size=len(preprocessing.vocabulary),
            classes=len(preprocessing.labels),
            embedding_size=model.embedding_size,
            cell=model.cell,  # type: ignore[arg-type]
            units=model.units,
            layers=model.layers,
            bidirectional=model.bidirectional,
            merge_mode=model.merge_mode,
            pooling=model.pooling,  # type: ignore[arg-type]
            dropout=model.dropout,
            recurrent_dropout=model.recurrent_dropout,
            word_dropout=model.word_dropout,
            activation=model.activation,
        )
        classifier.build()
        classifier.word_dropout.drop_rare(token_counts, model.rare_word_dropout * token_counts.sum())
        return classifier

    def register_model(self) -> None:
        """Import `models.classifier`."""
        importlib.import_module("models.classifier")

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Compute the mean cross-entropy of a batch, weighted by class."""
        import tensorflow as tf

        from models.losses import label_cross_entropy

        logits = model(batch["ids"], batch["lengths"], training=True)
        losses = label_cross_entropy(logits, batch["targets"], label_smoothing)
        best = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return Losses(
            tf.reduce_mean(losses * batch["weights"]),
            tf.reduce_sum(tf.cast(tf.equal(best, batch["targets"]), tf.float32)),
            tf.cast(tf.shape(losses)[0], tf.float32),
        )

    def evaluator(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[Facts],
        config: ClassificationConfig,
    ) -> Callable[[], dict[str, float]]:
        """Return a function that computes the metrics of a split."""
        from models.losses import label_cross_entropy

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            logits = model(batch["ids"], batch["lengths"], training=False)
            return {"logits": logits, "loss": label_cross_entropy(logits, batch["targets"], 0.0)}

        def of_split(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            logits = np.concatenate([output["logits"] for output in outputs])
            targets = np.concatenate([batch["targets"] for batch in arrays])
            loss = float(np.concatenate([output["loss"] for output in outputs]).mean())
            return {"loss": loss, **scores(logits.argmax(axis=-1), targets, logits.shape[-1])}

        return evaluated(step, batches, of_split)
