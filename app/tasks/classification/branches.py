"""How much each branch of a classifier counts, and what each of them predicts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from data.encoding import Texts

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

BRANCHES = ("recurrent", "ngrams")
"""Names of the branches, in the order of their weights."""
WHOLE = "whole"
"""Name of all branches together."""
SIGNATURE = "branches"


def choose_weights(recurrent: np.ndarray, ngrams: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the weights of both branches that minimize the cross-entropy of their sum: float32 [2].

    The two weights, at least 0, also calibrate the probabilities (Guo et al. 2017, "On calibration of modern
    neural networks": temperature scaling, here of two models at once). The problem is convex. The targets are
    smoothed as if one of N + 2 examples were wrong (Platt 1999, "Probabilistic outputs for support vector
    machines"): N correct ones would make the weights infinite.

    Args:
        recurrent: float [N, classes], logits of the recurrent branch.
        ngrams: float [N, classes], logits of the n-grams.
        targets: int [N], classes; or bool [N, classes], with several labels.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_softmax

    branches = np.stack([recurrent, ngrams]).astype(np.float64)
    several = targets.ndim == 2
    wanted = targets.astype(np.float64) if several else np.eye(branches.shape[2])[targets]
    smoothing = 2 / (len(wanted) + 2)
    wanted = (1 - smoothing) * wanted + smoothing / (2 if several else wanted.shape[1])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(weights, branches, axes=1)
        if several:
            nats, probabilities = np.logaddexp(0, logits) - wanted * logits, expit(logits)
        else:
            logarithms = log_softmax(logits, axis=1)
            nats, probabilities = -wanted * logarithms, np.exp(logarithms)
        slopes = np.tensordot(branches, probabilities - wanted, axes=2)
        return float(nats.sum() / len(wanted)), slopes / len(wanted)

    if not len(wanted):
        return np.ones(2, np.float32)
    found: Any = minimize(loss, [0.5, 0.5], jac=True, bounds=[(0, None)] * 2, method="L-BFGS-B")
    return np.asarray(found.x if found.x.any() else [1.0, 1.0], np.float32)


def joined_logits(model: Any, outputs: Any, targets: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the logits of a classifier; of one with n-grams with the weights that fit the targets best.

    The weights are assigned to the model.

    Args:
        model: the classifier.
        outputs: of each batch `logits`, or `recurrent` and `ngrams`: float [B, classes].
        targets: int [N], or bool [N, classes].
        known: bool [N], whether an example counts.

    Returns:
        float [N, classes].
    """
    if model.ngrams is None:
        return np.concatenate([output["logits"] for output in outputs])
    recurrent, ngrams = (np.concatenate([own[name] for own in outputs]) for name in BRANCHES)
    model.branch_weights.assign(choose_weights(recurrent[known], ngrams[known], targets[known]))
    joined: np.ndarray = model.joined(recurrent, ngrams).numpy()
    return joined


def of_branches(predictor: Predictor, texts: Texts) -> dict[str, np.ndarray]:
    """Return the outputs of the signature `branches`, and nothing for a model without branches."""
    return predictor.run_texts(SIGNATURE, texts) if SIGNATURE in predictor.signatures else {}
