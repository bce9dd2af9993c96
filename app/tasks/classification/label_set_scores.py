"""Metrics of predicted sets of labels. A new metric is one entry of `SCORES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from app.bootstrap import Outcomes, f1
from app.metrics import AVERAGE_PRECISION, LOSS, MACRO_F1, MICRO_F1, SUBSET_ACCURACY, Metric


class Predicted(NamedTuple):
    """Predictions for N examples, and what is true.

    Unseen labels, which the model does not know, have the last columns: they are never chosen.
    """

    chosen: np.ndarray
    """bool [N, labels + unseen]"""
    probabilities: np.ndarray
    """float [N, labels + unseen]; 0 for unseen labels."""
    targets: np.ndarray
    """bool [N, labels + unseen]"""


Score = Callable[[Predicted], float]


def predicted(chosen: np.ndarray, probabilities: np.ndarray, targets: np.ndarray) -> Predicted:
    """Return predictions of the labels of a model with columns for unseen labels.

    Args:
        chosen: bool [N, labels].
        probabilities: float [N, labels].
        targets: bool [N, labels + unseen].
    """
    more = [(0, 0), (0, targets.shape[1] - chosen.shape[1])]
    return Predicted(np.pad(chosen, more), np.pad(probabilities, more), targets)


def _f1(hits: np.ndarray, chosen: np.ndarray, having: np.ndarray) -> np.ndarray:
    """Return F1 scores; 0 where nothing is true and nothing is chosen."""
    found: np.ndarray = 2 * hits / np.maximum(chosen + having, 1)
    return found


def _counts(found: Predicted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each label how often it is chosen rightly, chosen, and true."""
    hits = (found.chosen & found.targets).sum(axis=0)
    return hits, found.chosen.sum(axis=0), found.targets.sum(axis=0)


def _micro_f1(found: Predicted) -> float:
    return float(_f1(*(count.sum() for count in _counts(found))))


def _macro_f1(found: Predicted) -> float:
    return float(_f1(*_counts(found)).mean())


def _subset_accuracy(found: Predicted) -> float:
    return float((found.chosen == found.targets).all(axis=1).mean())


def _average_precision(found: Predicted) -> float:
    """Return the mean over the labels that occur; an unseen label has a precision of 0."""
    from sklearn.metrics import average_precision_score

    known = found.targets.any(axis=0) & found.probabilities.any(axis=0)
    of_known = [
        average_precision_score(found.targets[:, i], found.probabilities[:, i]) for i in np.flatnonzero(known)
    ]
    return float(sum(of_known) / max(np.count_nonzero(found.targets.any(axis=0)), 1))


SCORES: dict[Metric, Score] = {
    MICRO_F1: _micro_f1,
    MACRO_F1: _macro_f1,
    SUBSET_ACCURACY: _subset_accuracy,
    AVERAGE_PRECISION: _average_precision,
}
"""How each metric is computed. Validation, `evaluate` and the baseline report all of them."""


def metrics() -> tuple[Metric, ...]:
    """Return the metrics that may select the best epoch."""
    return (*SCORES, LOSS)


def scores(found: Predicted) -> dict[str, float]:
    """Compute all metrics by name."""
    return {metric.name: score(found) for metric, score in SCORES.items()}


def micro_f1_outcomes(found: Predicted) -> Outcomes:
    """Return what each example contributes to the micro-averaged F1."""
    hits, chosen, having = (
        labels.sum(axis=1) for labels in (found.chosen & found.targets, found.chosen, found.targets)
    )
    return f1(hits, chosen, having)


def per_label(
    found: Predicted, names: Sequence[str], thresholds: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Compute precision, recall, F1 and support of each label; of a label of the model also its threshold."""
    counts = zip(*_counts(found), strict=True)
    table = {
        name: {
            "precision": float(hits / max(chosen, 1)),
            "recall": float(hits / max(having, 1)),
            "f1": float(_f1(hits, chosen, having)),
            "support": int(having),
        }
        for name, (hits, chosen, having) in zip(names, counts, strict=True)
    }
    for name, threshold in zip(names, thresholds, strict=False):  # the last ones are unseen
        table[name]["threshold"] = float(threshold)
    return table


def mean_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Compute the mean over the examples of the summed binary cross-entropies of all labels, in nats.

    Args:
        probabilities: float32 [N, labels]; 1 represents all numbers that float32 rounds to 1.
        targets: bool [N, labels].
    """
    positive = np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)
    negative = np.maximum(1 - probabilities.astype(np.float64), np.finfo(np.float32).epsneg / 2)
    return float(-np.where(targets, np.log(positive), np.log(negative)).sum(axis=1).mean())
