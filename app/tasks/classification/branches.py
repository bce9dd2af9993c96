"""How much each branch of a classifier counts, and what each of them predicts alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from app.metrics import RECURRENT_LOSS
from app.tasks.calibration import choose_weights
from data.encoding import Texts

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

BRANCHES = ("recurrent", "ngrams")
"""Names of the branches, in the order of their weights."""
WHOLE = "whole"
"""Name of all branches together."""
SIGNATURE = "branches"


def joined_logits(model: Any, outputs: Any, targets: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the logits of a classifier, with the weights of its branches that fit the targets best.

    The weights are assigned to the model.

    Args:
        model: the classifier.
        outputs: of each batch, what `logits_of` returns.
        targets: int [N], or bool [N, classes].
        known: bool [N], whether an example counts.

    Returns:
        float [N, classes].
    """
    if not model.calibrated:
        return np.concatenate([output["logits"] for output in outputs])
    branches = [np.concatenate([own[name] for own in outputs]) for name in BRANCHES if name in outputs[0]]
    model.branch_weights.assign(choose_weights([own[known] for own in branches], targets[known]))
    joined: np.ndarray = model.joined(*branches).numpy()
    return joined


def recurrent_loss(model: Any, outputs: Any, loss: Callable[[np.ndarray], float]) -> dict[str, float]:
    """Return the loss of the recurrent branch alone, and nothing without n-grams.

    Args:
        model: the classifier.
        outputs: of each batch, what `logits_of` returns.
        loss: from the logits of all examples, float [N, classes].
    """
    if model.ngrams is None:
        return {}
    return {RECURRENT_LOSS.name: loss(np.concatenate([output[BRANCHES[0]] for output in outputs]))}


def logits_of(model: Any, batch: Any) -> dict[str, Any]:
    """Return what `joined_logits` reads of a batch with `ids` and `lengths`."""
    if not model.calibrated:
        return {"logits": model(batch["ids"], batch["lengths"], training=False)}
    return dict(zip(BRANCHES, model.branches(batch["ids"], batch["lengths"]), strict=False))


def of_branches(predictor: Predictor, texts: Texts) -> dict[str, np.ndarray]:
    """Return the outputs of the signature `branches`, and nothing for a model without branches."""
    return predictor.run_texts(SIGNATURE, texts) if SIGNATURE in predictor.signatures else {}
