"""The probability from which a label is chosen, for each label the one with the highest F1.

The F1 score of a label on given examples is highest if the examples above some threshold of its probability
are chosen, and the best threshold is mostly below 0.5 for a rare label (Lipton et al. 2014, "Thresholding
classifiers to maximize F1 score"). It is found by trying all of them, one label at a time (Yang 2001, "A
study of thresholding strategies for text categorization": SCut).
"""

from __future__ import annotations

import numpy as np

UNKNOWN = 0.5
"""The threshold if there is nothing to choose it by."""
LOWEST, HIGHEST = 1e-6, 1 - 1e-6


def choose_thresholds(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the threshold of each label that maximizes its F1: float32 [labels].

    A label that no example has gets the threshold that maximizes the F1 of all labels together.

    `choose_thresholds([[0.9, 0.2], [0.3, 0.1], [0.1, 0.3]], [[1, 0], [1, 0], [0, 0]])` has a first threshold
    of 0.2, half-way between 0.3 and 0.1, and so has the second label, which never occurs: 0.25.

    Args:
        probabilities: float32 [N, labels].
        targets: bool [N, labels], whether an example has a label.
    """
    occurs = targets.any(axis=0)
    found = np.full(targets.shape[1], UNKNOWN, np.float32)
    if occurs.any() and not occurs.all():
        found[:] = best_threshold(probabilities.ravel(), targets.ravel())
    for label in np.flatnonzero(occurs):
        found[label] = best_threshold(probabilities[:, label], targets[:, label])
    return np.clip(found, np.float32(LOWEST), np.float32(HIGHEST))


def best_threshold(probabilities: np.ndarray, targets: np.ndarray) -> np.float32:
    """Return the threshold with the highest F1, half-way between two probabilities, or UNKNOWN.

    Of several such thresholds it is the one that is nearest to 0.5.

    Args:
        probabilities: float32 [N]; examples with at least the threshold are chosen.
        targets: bool [N].
    """
    if not targets.any():
        return np.float32(UNKNOWN)
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float32)
    hits = np.cumsum(targets[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    following = np.append(ranked[1:], np.float32(0))
    middle = (ranked + following) / np.float32(2)
    middle = np.where(middle > following, middle, ranked)  # two numbers may have none in between
    separable = np.append(ranked[:-1] > ranked[1:], True)
    best = np.flatnonzero(separable & (f1 >= f1[separable].max() - 1e-12))
    nearest: np.float32 = middle[best[np.argmin(np.abs(middle[best] - UNKNOWN))]]
    return nearest
