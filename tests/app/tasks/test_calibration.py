"""Calibration: scaled logits, the error of probabilities, reliability and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from app.tasks.calibration import (
    BINS,
    calibration,
    certainty,
    choose_weights,
    label_set_calibration,
)


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return found


def drawn(examples: int = 20_000, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and targets that are drawn from their softmax."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(examples, classes), scale=2)
    below = probabilities_of(logits).cumsum(axis=1) < generator.random((examples, 1))
    return logits, below.sum(axis=1)


@pytest.mark.parametrize("factor", [0.25, 4.0], ids=["too sure", "too unsure"])
def test_the_temperature_is_found(factor: float) -> None:
    """Logits that were made too large or too small get a weight that undoes it, and are calibrated then."""
    logits, targets = drawn()
    (weight,) = choose_weights([logits / factor], targets)
    before, after = (
        calibration(probabilities_of(own), targets) for own in (logits / factor, weight * logits / factor)
    )

    assert weight == pytest.approx(factor, rel=0.05)
    assert after["expected_calibration_error"] < 0.01 < 0.1 < before["expected_calibration_error"]
    assert after["brier_score"] < before["brier_score"]


def test_the_expected_calibration_error_of_two_bins() -> None:
    """Confidences of 0.9 that are right half of the time, and of 0.5 always: (2 x 0.4 + 1 x 0.5) / 3."""
    found = certainty(np.array([0.9, 0.9, 0.5]), np.array([True, False, True]))

    assert found["expected_calibration_error"] == pytest.approx(1.3 / 3)
    assert found["reliability"] == [
        {"confidence": 0.5, "accuracy": 1.0, "examples": 1},
        {"confidence": pytest.approx(0.9), "accuracy": 0.5, "examples": 2},
    ]


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    """Probabilities of 0 and 1 are in the first and last of all bins."""
    found = certainty(np.array([0.0, 1.0, 1 - 1 / (2 * BINS)]), np.array([False, True, True]))

    assert [own["examples"] for own in found["reliability"]] == [1, 2]


def test_the_brier_score() -> None:
    """It is the mean of the summed squared errors; an unseen class is one of probability 0."""
    found = calibration(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 5]))

    assert found["brier_score"] == pytest.approx(np.mean([0.2**2 + 0.2**2, 0.5**2 + 0.5**2 + 1]))
    assert found["expected_calibration_error"] == pytest.approx((0.2 + 0.5) / 2)


def test_risk_falls_with_coverage() -> None:
    """The most confident predictions are the first to be covered."""
    confidences = np.linspace(0.01, 1, 100)
    found = certainty(confidences, confidences > 0.5)["risk_coverage"]

    assert len(found) == 20
    assert found[0] == {"coverage": 0.05, "risk": 0.0, "threshold": pytest.approx(0.96)}
    assert found[-1] == {"coverage": 1.0, "risk": 0.5, "threshold": pytest.approx(0.01)}
    assert np.all(np.diff([own["risk"] for own in found]) >= 0)


def test_sets_of_labels() -> None:
    """Each label of each text is one decision."""
    found = label_set_calibration(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[True, False], [True, True]]))

    assert found["brier_score"] == pytest.approx((3 * 0.01 + 0.81) / 4)
    assert found["expected_calibration_error"] == pytest.approx((0.1 + 0.4) / 2)
    assert "risk_coverage" not in found


def test_nothing_to_evaluate() -> None:
    """Without examples there is no error."""
    found = certainty(np.zeros(0), np.zeros(0, bool))

    assert found == {"expected_calibration_error": 0.0, "reliability": [], "risk_coverage": []}
