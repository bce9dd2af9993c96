"""What is watched of a served classifier: the labels of its answers, and how certain they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.tasks.base import ExampleBatch, OutputArrays
from app.tasks.monitoring import Monitoring, Observed, counted


def _observe(outputs: OutputArrays) -> Observed:
    """Count labels; the certainty of a set of labels is the mean over all labels, chosen or not."""
    if "chosen" not in outputs:
        return Observed(counted(outputs["label"]), outputs["score"])
    probabilities = outputs["probabilities"]
    certainty = np.maximum(probabilities, 1 - probabilities).mean(axis=1)
    return Observed(counted(outputs["classes"][outputs["chosen"]]), certainty)


def _texts(examples: ExampleBatch) -> Sequence[bytes]:
    return list(examples["text"])


MONITORING = Monitoring(_observe, _texts, frozenset({"probabilities", "classes"}), answers=("labels",))
