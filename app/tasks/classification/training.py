"""The classifier, its loss and its validation metrics."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.metrics import LOSS, Metric
from app.tasks.base import Arrays, Losses, NamedAxis, Training, evaluated, head_axes
from app.tasks.classification import label_set_scores
from app.tasks.classification.branches import joined_logits, logits_of, recurrent_loss
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.label_set_training import CLASSES, label_set_evaluator, label_set_losses
from app.tasks.classification.mixing import Mixing, mixed_losses
from app.tasks.classification.ngrams import fit_ngrams, fitted_to
from app.tasks.classification.rejection import rejection
from app.tasks.classification.scores import metrics, scores
from app.tasks.teaching import PREFIX, taught
from data.batching import Batches, ExampleBatches

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.tasks.inspection import Inspection
    from models.divergences import Scores


class ClassificationTraining(Training[ClassificationConfig, ClassificationFacts]):
    """Training of a `models.classifier.Classifier`."""

    reads_whole_texts = True
    distills = True

    def metrics(self, preprocessing: Preprocessing[ClassificationFacts]) -> tuple[Metric, ...]:
        """Return the loss (nats per example) and all metrics of classes, or of sets of labels."""
        return label_set_scores.metrics() if preprocessing.facts.several_labels else metrics()

    def build_model(
        self,
        config: ClassificationConfig,
        preprocessing: Preprocessing[ClassificationFacts],
        token_counts: np.ndarray,
    ) -> keras.Model:
        """Return a `models.classifier.Classifier`."""
        from models.classifier import Classifier

        model = config.model
        classifier = Classifier(
            config.model,
            vocabulary_size=len(preprocessing.vocabulary),
            classes=len(preprocessing.labels),
            several_labels=preprocessing.facts.several_labels,
            ngram_entries=preprocessing.facts.ngrams,
            rejects=config.decision.rejects,
        )
        classifier.build()
        classifier.word_dropout.drop_rare(token_counts, model.rare_word_dropout * token_counts.sum())
        return classifier

    def start(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> Iterator[str]:
        """Fit the linear model of n-grams, if there is one."""
        if model.ngrams is not None:
            words, entries = len(preprocessing.vocabulary), model.ngrams.entries
            assert isinstance(batches, ExampleBatches)
            rows, examples = fitted_to(model, batches.lengths), len(batches.lengths)
            some = f", to {len(rows):,} of {examples:,} examples" if len(rows) < examples else ""
            yield f"fitting a linear model of {words:,} words and {entries:,} n-grams{some}"
            fit_ngrams(model, batches, rows, preprocessing, config)

    def inspection(
        self,
        model: keras.Model,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> Inspection[ClassificationConfig, ClassificationFacts]:
        """Return how classifiers are looked into."""
        from app.tasks.classification.inspection import ClassificationInspection

        return ClassificationInspection(model, preprocessing, config)

    def named_axes(
        self,
        model: keras.Model,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> Iterator[NamedAxis]:
        """Yield those of the embedding and of the head."""
        yield from super().named_axes(model, preprocessing, config)
        yield from head_axes(model.head, "labels", preprocessing.labels)

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
        """Compute the mean cross-entropy of a batch, weighted by class, or by label.

        With `partners` and `shares` in the batch, its rows are mixed, see `Mixing`.
        """
        import tensorflow as tf

        from models.divergences import Scores
        from models.losses import cross_entropy, number_correct, soft_cross_entropy

        if model.several_labels:
            return label_set_losses(model, batch, label_smoothing=label_smoothing)
        mixing = Mixing.of(batch)
        logits = model(batch["ids"], batch["lengths"], training=True, mix=mixing and mixing.vectors)

        def nats(rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
            own = taught(
                cross_entropy(logits, rows["targets"], label_smoothing),
                rows,
                CLASSES,
                lambda probabilities, temperature: soft_cross_entropy(logits, probabilities, temperature),
            )
            return own * rows["weights"]

        losses = mixed_losses(mixing, nats, batch, "targets", "weights", PREFIX + CLASSES)
        return Losses(
            tf.reduce_mean(losses),
            number_correct(logits, batch["targets"]),
            tf.cast(tf.shape(losses)[0], tf.float32),
            Scores(logits),
        )

    def scores(self, model: keras.Model, batch: Mapping[str, tf.Tensor]) -> Scores:
        """Return the logits of the classes, or of each label: float [B, C]."""
        from models.divergences import Scores

        logits = model(batch["ids"], batch["lengths"], training=True)
        return Scores(logits, independent=model.several_labels)

    def teach(
        self, model: keras.Model, batch: Mapping[str, tf.Tensor], temperature: float
    ) -> dict[str, tf.Tensor]:
        """Return the probabilities of the classes, or of each label: float32 [B, C]."""
        import tensorflow as tf

        logits = tf.cast(model(batch["ids"], batch["lengths"], training=False), tf.float32) / temperature
        return {CLASSES: tf.sigmoid(logits) if model.several_labels else tf.nn.softmax(logits)}

    def evaluator(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> Callable[[], dict[str, float]]:
        """Return a function that computes the metrics of a split, and first the weights of the branches.

        If some texts get no label, it chooses the threshold, too.

        Examples of an unseen class count as wrong; the loss is the mean over the others.
        """
        if model.several_labels:
            return label_set_evaluator(model, batches)
        from models.losses import cross_entropy

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return logits_of(model, batch)

        def of_split(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            targets = np.concatenate([batch["targets"] for batch in arrays])
            known = targets < model.classes

            def loss(logits: np.ndarray) -> float:
                return float(cross_entropy(logits[known], targets[known]).numpy().mean())

            logits = joined_logits(model, outputs, targets, known)
            classes = max(model.classes, int(targets.max()) + 1)
            found = {
                LOSS.name: loss(logits),
                **recurrent_loss(model, outputs, loss),
                **scores(logits.argmax(axis=-1), targets, classes),
            }
            return found | rejection(model, logits, targets, config.decision) if model.rejects else found

        return evaluated(step, batches, of_split, reads=["targets"])
