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
            config.model,
            vocabulary_size=len(preprocessing.vocabulary),
            classes=len(preprocessing.labels),
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

        from models.losses import cross_entropy, number_correct

        logits = model(batch["ids"], batch["lengths"], training=True)
        losses = cross_entropy(logits, batch["targets"], label_smoothing)
        return Losses(
            tf.reduce_mean(losses * batch["weights"]),
            number_correct(logits, batch["targets"]),
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
        from models.losses import cross_entropy

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            logits = model(batch["ids"], batch["lengths"], training=False)
            return {"logits": logits, "loss": cross_entropy(logits, batch["targets"])}

        def of_split(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            logits = np.concatenate([output["logits"] for output in outputs])
            targets = np.concatenate([batch["targets"] for batch in arrays])
            loss = float(np.concatenate([output["loss"] for output in outputs]).mean())
            return {"loss": loss, **scores(logits.argmax(axis=-1), targets, logits.shape[-1])}

        return evaluated(step, batches, of_split)
