"""Metrics of class predictions. A new metric is one entry of `SCORES`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from app.metrics import ACCURACY, LOSS, MACRO_F1, Metric

Score = Callable[[np.ndarray, np.ndarray, int], float]
"""From predicted class ids int [N], true class ids int [N] and the number of classes to a number."""


def _accuracy(predicted: np.ndarray, targets: np.ndarray, classes: int) -> float:
    return float(np.mean(predicted == targets))


def _macro_f1(predicted: np.ndarray, targets: np.ndarray, classes: int) -> float:
    from sklearn.metrics import f1_score

    labels = range(classes)
    return float(f1_score(targets, predicted, labels=labels, average="macro", zero_division=0))


SCORES: dict[Metric, Score] = {ACCURACY: _accuracy, MACRO_F1: _macro_f1}
"""How each metric is computed. Validation, `evaluate` and the baseline report all of them."""


def metrics() -> tuple[Metric, ...]:
    """Return the metrics that may select the best epoch."""
    return (*SCORES, LOSS)


def scores(predicted: np.ndarray, targets: np.ndarray, classes: int) -> dict[str, float]:
    """Compute all metrics by name: predicted and true class ids int [N]."""
    return {metric.name: score(predicted, targets, classes) for metric, score in SCORES.items()}


def per_class(predicted: np.ndarray, targets: np.ndarray, labels: list[str]) -> dict[str, dict[str, Any]]:
    """Compute precision, recall, F1 and support of each class, by its label."""
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(targets, predicted, labels=range(len(labels)), zero_division=0)
    return {
        label: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for label, precision, recall, f1, support in zip(labels, *found, strict=True)
    }


def confusion(predicted: np.ndarray, targets: np.ndarray, classes: int) -> list[list[int]]:
    """Count examples by true class (rows) and predicted class (columns)."""
    from sklearn.metrics import confusion_matrix

    found: list[list[int]] = confusion_matrix(targets, predicted, labels=range(classes)).tolist()
    return found
