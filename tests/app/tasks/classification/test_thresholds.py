"""The probability from which a label is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from app.tasks.classification.thresholds import best_threshold, choose_thresholds


def chosen_f1(probabilities: np.ndarray, targets: np.ndarray, threshold: float) -> float:
    """Return the F1 score of the examples with at least the threshold."""
    return float(f1_score(targets, probabilities >= threshold, zero_division=0))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better(seed: int) -> None:
    """The F1 score is the highest of all thresholds, also with equal probabilities and rare labels."""
    generator = np.random.default_rng(seed)
    probabilities = generator.integers(0, 30, 80).astype(np.float32) / 29
    targets = generator.random(80) < (0.1 + 0.5 * probabilities) / (seed + 1)

    found = chosen_f1(probabilities, targets, best_threshold(probabilities, targets))

    assert found == pytest.approx(max(chosen_f1(probabilities, targets, t) for t in np.linspace(0, 1, 200)))


def test_it_is_in_the_middle() -> None:
    """It is half-way between the last example that is chosen and the first one that is not."""
    probabilities = np.array([0.8, 0.1, 0.3, 0.05], np.float32)

    assert best_threshold(probabilities, np.array([True, False, True, False])) == pytest.approx(0.2)
    assert best_threshold(probabilities, np.array([True, False, False, False])) == pytest.approx(0.55)
    assert best_threshold(probabilities, np.array([True, True, True, True])) == pytest.approx(0.025)


def test_numbers_without_a_middle() -> None:
    """Between neighbouring numbers of float32 the larger one is the threshold."""
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    probabilities = np.array([low, high], np.float32)

    threshold = best_threshold(probabilities, np.array([False, True]))

    assert (probabilities >= threshold).tolist() == [False, True]


def test_a_label_without_examples() -> None:
    """It gets the threshold that is best for all labels together, and 0.5 if no label has examples."""
    probabilities = np.array([[0.9, 0.2], [0.3, 0.1], [0.1, 0.3]], np.float32)
    targets = np.array([[True, False], [True, False], [False, False]])

    assert choose_thresholds(probabilities, targets) == pytest.approx([0.2, 0.25])
    assert choose_thresholds(probabilities, np.zeros((3, 2), bool)) == pytest.approx([0.5, 0.5])


def test_thresholds_have_log_odds() -> None:
    """A threshold is never 0 or 1, not even if all probabilities are."""
    for value in (0.0, 1.0):
        probabilities = np.full((3, 2), value, np.float32)
        thresholds = choose_thresholds(probabilities, np.array([[True, False]] * 3))
        assert np.isfinite(np.log(thresholds) - np.log1p(-thresholds)).all()


def test_the_order_of_examples_changes_nothing() -> None:
    """Thresholds are the same for the examples in another order."""
    generator = np.random.default_rng(0)
    probabilities = generator.random((50, 4)).astype(np.float32)
    targets = generator.random((50, 4)) < probabilities
    order = generator.permutation(50)

    found = choose_thresholds(probabilities, targets)

    assert found.tolist() == choose_thresholds(probabilities[order], targets[order]).tolist()
