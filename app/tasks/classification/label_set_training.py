"""Loss and validation metrics of a classifier whose texts have any number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.metrics import LOSS
from app.tasks.base import Arrays, Losses, evaluated
from app.tasks.classification.branches import BRANCHES, joined_logits, logits_of, recurrent_loss
from app.tasks.classification.label_set_scores import predicted, scores
from app.tasks.classification.mixing import Mixing, mixed_losses
from app.tasks.classification.thresholds import choose_thresholds
from app.tasks.teaching import PREFIX, taught
from data.batching import Batches

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

CLASSES = "classes"
"""Name of a teacher's probabilities of classes or labels."""


def label_set_losses(model: keras.Model, batch: Mapping[str, tf.Tensor], *, label_smoothing: float) -> Losses:
    """Compute the mean over the texts of a batch of the summed binary cross-entropies of all labels.

    A sum over the labels, in nats per text, as with one label: a mean over thousands of labels would make
    gradients thousands of times smaller. A text is correct if the labels with a probability of at least 0.5
    are its labels.
    """
    import tensorflow as tf

    from models.divergences import Scores
    from models.losses import binary_cross_entropy

    mixing = Mixing.of(batch)
    logits = model(batch["ids"], batch["lengths"], training=True, mix=mixing and mixing.vectors)

    def nats(rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        of_labels = taught(
            binary_cross_entropy(logits, rows["targets"], label_smoothing),
            rows,
            CLASSES,
            lambda probabilities, temperature: binary_cross_entropy(
                tf.cast(logits, tf.float32) / temperature, probabilities
            ),
        )
        return tf.reduce_sum(of_labels * batch["weights"], axis=1)

    losses = mixed_losses(mixing, nats, batch, "targets", PREFIX + CLASSES)
    correct = tf.reduce_all((logits >= 0) == batch["targets"], axis=1)
    return Losses(
        tf.reduce_mean(losses),
        tf.reduce_sum(tf.cast(correct, tf.float32)),
        tf.cast(tf.shape(logits)[0], tf.float32),
        Scores(logits, independent=True),
    )


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of labels as the SavedModel computes them: float32 [N, labels]."""
    import tensorflow as tf

    probabilities: np.ndarray = tf.sigmoid(tf.cast(logits, tf.float32)).numpy()
    return probabilities


def label_set_evaluator(model: keras.Model, batches: Batches) -> Callable[[], dict[str, float]]:
    """Return a function that chooses the thresholds of a model on a split, and computes its metrics.

    Of a model with n-grams it chooses the weights of the branches first. The loss is that of the labels of
    the model. Unseen labels count as missed in all other metrics.
    """
    from models.losses import binary_cross_entropy

    def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return logits_of(model, batch)

    def of_split(arrays: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
        targets = np.concatenate([batch["targets"] for batch in arrays])
        known = targets[:, : model.classes]

        def loss(logits: np.ndarray) -> float:
            return float(binary_cross_entropy(logits, known).numpy().sum(axis=1).mean())

        logits = joined_logits(model, outputs, known, np.ones(len(known), bool))
        probabilities = probabilities_of(logits)
        thresholds = choose_thresholds(probabilities, known)
        model.thresholds.assign(thresholds)
        if model.ngrams is not None:
            branches = (np.concatenate([own[name] for own in outputs]) for name in BRANCHES)
            model.branch_thresholds.assign(
                np.stack([choose_thresholds(probabilities_of(own), known) for own in branches])
            )
        return {
            LOSS.name: loss(logits),
            **recurrent_loss(model, outputs, loss),
            **scores(predicted(probabilities >= thresholds, probabilities, targets)),
        }

    return evaluated(step, batches, of_split, reads=["targets"])
