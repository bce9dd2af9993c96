"""Predicted sets of labels: as JSON, and evaluated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from app.metrics import MICRO_F1
from app.tasks.base import Evaluation, ExampleBatch, OutputArrays
from app.tasks.calibration import label_set_calibration
from app.tasks.classification.branches import BRANCHES, of_branches
from app.tasks.classification.label_set_scores import (
    mean_loss,
    micro_f1_outcomes,
    per_label,
    predicted,
    scores,
)
from app.tasks.labels import label_sets, with_unseen
from data.prepared import Dataset

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

DIGITS = 6


def label_sets_to_json(outputs: OutputArrays) -> list[dict[str, Any]]:
    """Return `labels`, the chosen ones, most probable first, and `probabilities` by label, of each row."""
    lines = []
    columns = (outputs[name] for name in ("chosen", "probabilities", "classes"))
    for chosen, probabilities, classes in zip(*columns, strict=True):
        names = [name.decode() for name in classes]
        order = np.argsort(-probabilities, kind="stable")
        lines.append(
            {
                "labels": [names[i] for i in order if chosen[i]],
                "probabilities": {
                    name: round(float(p), DIGITS) for name, p in zip(names, probabilities, strict=True)
                },
            }
        )
    return lines


def evaluate_label_sets(
    predictor: Predictor, signature: str, dataset: Dataset, examples: Iterable[ExampleBatch]
) -> Evaluation:
    """Return loss (nats per example), metrics, those of each branch, and metrics of each label.

    Labels that the model does not know count as missed; the loss is that of the others.
    """
    labels = predictor.info.preprocessing.labels
    every = with_unseen(labels, dataset)
    parts: list[tuple[np.ndarray, ...]] = []
    alone: dict[str, list[np.ndarray]] = {}
    thresholds = np.zeros(len(labels))
    for batch in examples:
        outputs = predictor.run_texts(signature, batch["text"])
        thresholds = outputs["thresholds"][0]
        for name, values in of_branches(predictor, batch["text"]).items():
            alone.setdefault(name, []).append(values)
        parts.append((outputs["chosen"], outputs["probabilities"], label_sets(batch, dataset, every)))
    chosen, probabilities, targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    occurs = targets.any(axis=0) | (np.arange(len(every)) < len(labels))
    targets = targets[:, occurs]
    names = [every[i].decode() for i in np.flatnonzero(occurs)]
    found = predicted(chosen, probabilities, targets)
    result: dict[str, Any] = {
        "examples": len(targets),
        "loss": mean_loss(probabilities, targets[:, : len(labels)]),
        **scores(found),
        **label_set_calibration(probabilities, targets[:, : len(labels)]),
    }
    if alone:
        branches = {name: np.concatenate(values) for name, values in alone.items()}
        result["branches"] = {
            name: scores(predicted(branches[f"{name}_chosen"], branches[name], targets)) for name in BRANCHES
        }
    counts = targets.sum(axis=0)
    unseen = Counter({names[i]: int(counts[i]) for i in range(len(labels), len(names))})
    if unseen:
        result["unseen_labels"] = dict(sorted(unseen.items()))
    result["per_class"] = per_label(found, names, thresholds.tolist())
    return Evaluation(result, {MICRO_F1.name: micro_f1_outcomes(found)})
