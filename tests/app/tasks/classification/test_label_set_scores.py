"""Metrics of sets of labels, compared with those of scikit-learn and counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_fscore_support

from app.tasks.classification.label_set_scores import mean_loss, per_label, predicted, scores


def random_predictions(labels: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return chosen labels, probabilities and true labels of 60 examples."""
    generator = np.random.default_rng(0)
    probabilities = generator.random((60, labels)).astype(np.float32)
    return probabilities >= 0.4, probabilities, generator.random((60, labels)) < probabilities * 0.8


def test_metrics_are_those_of_scikit_learn() -> None:
    """All metrics, and the table of the labels."""
    chosen, probabilities, targets = random_predictions()

    found = scores(predicted(chosen, probabilities, targets))
    table = per_label(predicted(chosen, probabilities, targets), list("abcde"), [0.4] * 5)

    assert found == pytest.approx(
        {
            "micro_f1": f1_score(targets, chosen, average="micro"),
            "macro_f1": f1_score(targets, chosen, average="macro"),
            "subset_accuracy": accuracy_score(targets, chosen),
            "average_precision": average_precision_score(targets, probabilities, average="macro"),
        }
    )
    precision, recall, f1, support = precision_recall_fscore_support(targets, chosen)
    assert [row["precision"] for row in table.values()] == pytest.approx(precision.tolist())
    assert [row["recall"] for row in table.values()] == pytest.approx(recall.tolist())
    assert [row["f1"] for row in table.values()] == pytest.approx(f1.tolist())
    assert [row["support"] for row in table.values()] == support.tolist()
    assert {row["threshold"] for row in table.values()} == {0.4}


def test_an_unseen_label_is_missed() -> None:
    """Its examples are wrong in all metrics; it has a support and no threshold."""
    chosen = np.array([[True], [False]])
    targets = np.array([[True, True], [False, False]])  # the second label is unseen

    found = predicted(chosen, chosen.astype(np.float32), targets)

    assert scores(found) == pytest.approx(
        {"micro_f1": 2 / 3, "macro_f1": 1 / 2, "subset_accuracy": 1 / 2, "average_precision": 1 / 2}
    )
    assert per_label(found, ["a", "b"], [0.5]) == {
        "a": {"precision": 1, "recall": 1, "f1": 1, "support": 1, "threshold": 0.5},
        "b": {"precision": 0, "recall": 0, "f1": 0, "support": 1},
    }


def test_a_label_that_does_not_occur() -> None:
    """It counts in the macro F1, as in that of classes, and not in the average precision."""
    chosen = np.array([[True, False], [False, False]])

    found = scores(predicted(chosen, chosen.astype(np.float32), chosen))

    assert found == {"micro_f1": 1, "macro_f1": 0.5, "subset_accuracy": 1, "average_precision": 1}


def test_no_labels_at_all() -> None:
    """Without a true and a chosen label the F1 scores are 0."""
    nothing = np.zeros((2, 3), bool)

    found = scores(predicted(nothing, nothing.astype(np.float32), nothing))

    assert found == {"micro_f1": 0, "macro_f1": 0, "subset_accuracy": 1, "average_precision": 0}


def test_the_loss() -> None:
    """It is the mean over the examples of a sum over the labels, finite for probabilities of 0 and 1."""
    probabilities = np.array([[0.9, 0.2], [0.5, 0.5]], np.float32)
    targets = np.array([[True, False], [False, True]])

    expected = -(np.log(0.9) + np.log(0.8) + 2 * np.log(0.5)) / 2
    assert mean_loss(probabilities, targets) == pytest.approx(expected, rel=1e-6)
    assert 10 < mean_loss(np.array([[1.0]], np.float32), np.array([[False]])) < 20
    assert 10 < mean_loss(np.array([[0.0]], np.float32), np.array([[True]])) < 100
