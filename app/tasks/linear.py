"""Logistic regression: the linear models beside recurrent networks, fitted before the first training step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

MOST_ITERATIONS = 200
TOLERANCE = 1e-4


def most_frequent(keys: np.ndarray, numbers: np.ndarray, most: int) -> np.ndarray:
    """Return the keys that occur most often, ascending: int64 [at most `most`].

    Args:
        keys: int64 [N], distinct.
        numbers: int [N], how often each occurs.
        most: maximum number of keys.
    """
    found: np.ndarray = np.sort(keys[np.argsort(-numbers, kind="stable")[:most]])
    return found


def fit_classes(
    features: Any,
    targets: np.ndarray,
    classes: int,
    *,
    inverse_regularization: float,
    weights: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = MOST_ITERATIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression.

    Args:
        features: CSR [N, features].
        targets: int [N], classes.
        classes: number of classes C, some of which may have no example.
        inverse_regularization: `C` of scikit-learn.
        weights: float [N] of the examples; None: 1 for each.
        tolerance: `tol` of scikit-learn.
        iterations: most steps of L-BFGS.

    Returns:
        float [features, C], weights; and float [C], biases.
    """
    table, bias = np.zeros((features.shape[1], classes)), np.full(classes, -np.log(len(targets) + 1))
    present = np.unique(targets)
    if len(present) < 2:
        bias[present] = 0
        return table, bias
    found = _fitted(features, targets, inverse_regularization, weights, tolerance, iterations)
    if len(present) == 2:  # scikit-learn has the difference of the logits
        table[:, present] = found.coef_.T * [-0.5, 0.5]
        bias[present] = found.intercept_ * [-0.5, 0.5]
    else:
        table[:, present], bias[present] = found.coef_.T, found.intercept_
    return table, bias


def fit_labels(
    features: Any, targets: np.ndarray, *, inverse_regularization: float, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression of each label.

    Args:
        features: CSR [N, features].
        targets: bool [N, labels].
        inverse_regularization: `C` of scikit-learn.
        weights: float [N, labels].

    Returns:
        float [features, labels], weights; and float [labels], biases.
    """
    labels = targets.shape[1]
    table, bias = np.zeros((features.shape[1], labels)), np.zeros(labels)
    for label in range(labels):
        having = targets[:, label]
        if having.all() or not having.any():
            bias[label] = np.log(len(having) + 1) * (1 if having.any() else -1)
            continue
        found = _fitted(features, having, inverse_regularization, weights[:, label])
        table[:, label], bias[label] = found.coef_[0], found.intercept_[0]
    return table, bias


def _fitted(
    features: Any,
    targets: np.ndarray,
    inverse_regularization: float,
    weights: np.ndarray | None,
    tolerance: float = TOLERANCE,
    iterations: int = MOST_ITERATIONS,
) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse_regularization, max_iter=iterations, tol=tolerance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is regularization, too
        return model.fit(features, targets, sample_weight=weights)
