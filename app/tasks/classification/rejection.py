"""Texts that get no label: the threshold of the probability, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.tasks.classification.config import DecisionConfig


def choose_threshold(
    confidences: np.ndarray, correct: np.ndarray, *, precision: float, coverage: float
) -> np.float32:
    """Return the probability from which a text gets its label.

    Args:
        confidences: float32 [N], the probabilities of the predicted classes.
        correct: bool [N], whether they are right.
        precision: wanted share of right labels, of the texts that get one; of all thresholds that have it,
            the lowest one is returned. If none has it, the one with the highest precision is.
        coverage: wanted share of the texts that get a label, if `precision` is 0.
    """
    if not len(confidences):
        return np.float32(0)
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order].astype(np.float32)
    counts = np.arange(1, len(ranked) + 1)
    precisions = np.cumsum(correct[order]) / counts
    # Texts of the same probability get a label together.
    is_last = np.append(ranked[:-1] > ranked[1:], True)
    if precision:
        good = np.flatnonzero(is_last & (precisions >= precision))
        chosen = good[-1] if len(good) else np.flatnonzero(is_last)[np.argmax(precisions[is_last])]
    else:
        chosen = np.flatnonzero(is_last & (counts >= coverage * len(ranked)))[0]
    if chosen == len(ranked) - 1:
        return np.float32(0)
    threshold: np.float32 = ranked[chosen]
    return threshold


def rejection(
    model: Any, logits: np.ndarray, targets: np.ndarray, decision: DecisionConfig
) -> dict[str, float]:
    """Assign the threshold of a classifier that fits a split best.

    Args:
        model: with a threshold.
        logits: float [N, classes].
        targets: int [N].
        decision: what is wanted.

    Returns:
        `coverage` and `labelled_accuracy`, see `of_labelled`.
    """
    import tensorflow as tf

    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()
    confidences, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    threshold = choose_threshold(
        confidences, correct, precision=decision.precision, coverage=decision.coverage
    )
    model.threshold.assign(threshold)
    return of_labelled(confidences >= threshold, correct)


def of_labelled(labelled: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """Return `coverage`, the share of texts that get a label, and `labelled_accuracy`, their accuracy.

    Args:
        labelled: bool [N].
        correct: bool [N].
    """
    accuracy = float(correct[labelled].mean()) if labelled.any() else 1.0
    return {"coverage": float(labelled.mean()), "labelled_accuracy": accuracy}


def of_scope(
    labelled: np.ndarray, predicted: np.ndarray, targets: np.ndarray, names: Sequence[str], label: str
) -> dict[str, Any]:
    """Return how well texts out of scope are found.

    Args:
        labelled: bool [N], whether a text gets a label; one without counts as out of scope.
        predicted: int [N], into `names`.
        targets: int [N], into `names`.
        names: the labels.
        label: the one that means none of the others.

    Returns:
        `label`; `precision`, `recall` and `f1` of the texts out of scope; `in_scope_accuracy`, the share of
        the other texts that get the right label.
    """
    from sklearn.metrics import precision_recall_fscore_support

    place = list(names).index(label) if label in names else -1
    found, truth = (predicted == place) | ~labelled, targets == place
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, found, average="binary", zero_division=0
    )
    inside = ~truth
    right = (predicted == targets) & labelled
    return {
        "label": label,
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "in_scope_accuracy": float(right[inside].mean()) if inside.any() else 1.0,
    }
