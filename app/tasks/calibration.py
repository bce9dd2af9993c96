"""Calibration: weights of logits that fit the validation split, and how true probabilities are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def choose_weights(branches: Sequence[np.ndarray], targets: np.ndarray) -> np.ndarray:
    """Return the weights of models that minimize the cross-entropy of the weighted sum of their logits.

    The weights, at least 0, also calibrate the probabilities (Guo et al. 2017, "On calibration of modern
    neural networks": temperature scaling, here of several models at once). The problem is convex. The
    targets are smoothed as if one of N + 2 examples were wrong (Platt 1999, "Probabilistic outputs for
    support vector machines"): N correct ones would make the weights infinite.

    Args:
        branches: logits of each model, float [N, classes].
        targets: int [N], classes; or bool [N, classes], with several labels.

    Returns:
        float32 [models].
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_softmax

    stacked = np.stack(branches).astype(np.float64)
    several = targets.ndim == 2
    wanted = targets.astype(np.float64) if several else np.eye(stacked.shape[2])[targets]
    smoothing = 2 / (len(wanted) + 2)
    wanted = (1 - smoothing) * wanted + smoothing / (2 if several else wanted.shape[1])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(weights, stacked, axes=1)
        if several:
            nats, probabilities = np.logaddexp(0, logits) - wanted * logits, expit(logits)
        else:
            logarithms = log_softmax(logits, axis=1)
            nats, probabilities = -wanted * logarithms, np.exp(logarithms)
        slopes = np.tensordot(stacked, probabilities - wanted, axes=2)
        return float(nats.sum() / len(wanted)), slopes / len(wanted)

    if not len(wanted) or not np.isfinite(stacked).all():  # a loss that is not finite ends the training
        return np.ones(len(stacked), np.float32)
    start = np.full(len(stacked), 1 / len(stacked))
    found: Any = minimize(loss, start, jac=True, bounds=[(0, None)] * len(start), method="L-BFGS-B")
    return np.asarray(found.x if found.x.any() else np.ones(len(start)), np.float32)


BINS = 15
"""Of the expected calibration error, as in Guo et al. 2017."""
COVERAGES = 20
"""Points of the risk-coverage curve."""


def calibration(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Compute how true the probabilities of classes are.

    Args:
        probabilities: float [N, classes].
        targets: int [N], classes; those of an unseen class are no index of a column.

    Returns:
        `expected_calibration_error` and more, see `certainty`; and `brier_score` (Brier 1950), the mean of
        the summed squared errors of all probabilities, from 0 to 2.
    """
    rows = np.arange(len(targets))
    known = targets < probabilities.shape[1]
    of_target = np.zeros(len(targets))
    of_target[known] = probabilities[rows[known], targets[known]]
    brier = np.sum(probabilities.astype(np.float64) ** 2, axis=1) - 2 * of_target + 1
    correct = probabilities.argmax(axis=1) == targets
    return {"brier_score": float(brier.mean())} | certainty(probabilities.max(axis=1), correct)


def label_set_calibration(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Compute how true the probabilities of labels are, of which a text has any number.

    Args:
        probabilities: float [N, labels].
        targets: bool [N, labels].

    Returns:
        `expected_calibration_error` and `reliability` of all probabilities; `brier_score`, the mean squared
        error of a probability.
    """
    flat, truth = probabilities.ravel().astype(np.float64), targets.ravel()
    found = certainty(flat, truth)
    del found["risk_coverage"]
    return {"brier_score": float(np.mean((flat - truth) ** 2))} | found


def certainty(confidences: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Compute how much the confidence of predictions says.

    Args:
        confidences: float [N], from 0 to 1, the probability that the model gives to its prediction.
        correct: bool [N].

    Returns:
        `expected_calibration_error`, the mean difference of confidence and accuracy in `BINS` bins of equal
        width, weighted by their sizes (Naeini et al. 2015); `reliability`, of each bin that is not empty its
        `confidence`, `accuracy` and `examples`; `risk_coverage`, of growing shares of the predictions, the
        most confident ones, their `coverage`, their `risk`, which is their error rate, and the `threshold`
        that they reach (El-Yaniv and Wiener 2010).
    """
    if not len(confidences):
        return {"expected_calibration_error": 0.0, "reliability": [], "risk_coverage": []}
    confidences = confidences.astype(np.float64)
    places = np.minimum((confidences * BINS).astype(int), BINS - 1)
    sizes = np.bincount(places, minlength=BINS)
    filled = np.flatnonzero(sizes)
    means = np.bincount(places, confidences, BINS)[filled] / sizes[filled]
    accuracies = np.bincount(places, correct, BINS)[filled] / sizes[filled]
    order = np.argsort(-confidences, kind="stable")
    wrong = np.cumsum(~correct[order])
    counts = np.unique(np.ceil(np.linspace(0, 1, COVERAGES + 1)[1:] * len(order)).astype(int))
    return {
        "expected_calibration_error": float(np.abs(means - accuracies) @ sizes[filled] / len(confidences)),
        "reliability": [
            {"confidence": float(mean), "accuracy": float(accuracy), "examples": int(size)}
            for mean, accuracy, size in zip(means, accuracies, sizes[filled], strict=True)
        ],
        "risk_coverage": [
            {
                "coverage": count / len(order),
                "risk": float(wrong[count - 1] / count),
                "threshold": float(confidences[order[count - 1]]),
            }
            for count in counts.tolist()
        ],
    }
