"""Intervals by the bootstrap, against a resampling of one example after the other."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from app.bootstrap import Outcomes, correct, difference, f1, interval_of, value


def brute_force(models: list[Outcomes], other: Outcomes | None, samples: int = 4000) -> tuple[float, float]:
    """Draw indices of examples, and of models; return the limits of the middle 95 %."""
    random = np.random.default_rng(7)
    size = len(models[0].numerator)
    found = []
    for _ in range(samples):
        rows = random.integers(size, size=size)

        def metric(own: Outcomes, rows: np.ndarray = rows) -> float:
            return float(own.numerator[rows].sum() / own.denominator[rows].sum())

        values = [metric(models[i]) for i in random.integers(len(models), size=len(models))]
        found.append(np.mean(values) - (metric(other) if other else 0))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def accuracies(number: int, size: int = 300) -> list[Outcomes]:
    """Return outcomes of classifiers that are mostly right on the same examples."""
    random = np.random.default_rng(1)
    easy = random.random(size)
    return [correct(easy + random.normal(0, 0.1, size) > 0.2 + 0.02 * i) for i in range(number)]


def ratios(number: int, size: int = 200) -> list[Outcomes]:
    """Return outcomes of taggers: each sentence has another number of spans."""
    random = np.random.default_rng(2)
    gold = random.integers(0, 6, size)
    found = []
    for i in range(number):
        hits = random.binomial(gold, 0.9 - 0.05 * i)
        found.append(f1(hits, hits + random.integers(0, 2, size), gold))
    return found


@pytest.mark.parametrize("outcomes", [accuracies, ratios], ids=["accuracy", "f1"])
def test_interval_of_a_metric(outcomes: object) -> None:
    """The interval of a metric is that of resampled examples, and contains the metric."""
    (own,) = outcomes(1)  # type: ignore[operator]
    found = interval_of(own)

    assert found is not None
    assert found == pytest.approx(brute_force([own], None), abs=4e-3)
    assert found.low < value(own) < found.high


@pytest.mark.parametrize("models", [1, 3], ids=["one", "three"])
@pytest.mark.parametrize("outcomes", [accuracies, ratios], ids=["accuracy", "f1"])
def test_interval_of_a_difference(outcomes: object, models: int) -> None:
    """Models and baseline are compared on the same samples, those of several models vary too."""
    *own, other = outcomes(models + 1)  # type: ignore[operator]
    found = difference(own, other)

    assert found is not None
    assert found.value == pytest.approx(np.mean([value(one) for one in own]) - value(other))
    assert found.interval == pytest.approx(brute_force(own, other), abs=6e-3)


def test_pairs_count() -> None:
    """Two models that err on the same examples differ less than two that err independently."""
    random = np.random.default_rng(3)
    right = random.random(400) < 0.8
    alike = right.copy()
    alike[:4] = ~alike[:4]
    near = difference([correct(right)], correct(alike))
    far = difference([correct(right)], correct(random.permutation(right)))

    assert near is not None
    assert far is not None
    assert 3 * (near.interval.high - near.interval.low) < far.interval.high - far.interval.low


def test_a_difference_is_shown_or_not() -> None:
    """A small difference is none; a large one is shown, in both directions."""
    right = np.arange(200) < 160
    same, worse = right.copy(), right.copy()
    same[[3, 190]] = ~same[[3, 190]]
    worse[:40] = False
    none = difference([correct(right)], correct(same))
    better = difference([correct(right)], correct(worse))
    other = difference([correct(worse)], correct(right))

    assert none is not None
    assert (none.value, none.is_shown) == (0, False)
    assert better is not None
    assert (better.value, better.is_shown) == (pytest.approx(0.2), True)
    assert other is not None
    assert (other.value, other.is_shown) == (pytest.approx(-0.2), True)


def test_the_same_again() -> None:
    """The same outcomes have the same intervals, and the order of examples has no effect."""
    own, other = ratios(2)
    order = np.random.default_rng(0).permutation(len(own.numerator))
    turned = [Outcomes(one.numerator[order], one.denominator[order]) for one in (own, other)]

    assert difference([own], other) == difference([own], other)
    assert difference([turned[0]], turned[1]) == difference([own], other)


def test_few_examples_have_no_interval() -> None:
    """Of a handful of examples no interval is computed, however they came out."""
    few = correct(np.ones(9, bool))

    assert interval_of(few) is None
    assert difference([few], correct(np.zeros(9, bool))) is None
    assert interval_of(correct(np.ones(10, bool))) == (1, 1)


def test_micro_f1() -> None:
    """The metric of outcomes is the micro-averaged F1."""
    random = np.random.default_rng(5)
    gold, predicted = random.random((50, 4)) < 0.3, random.random((50, 4)) < 0.4
    own = f1((gold & predicted).sum(axis=1), predicted.sum(axis=1), gold.sum(axis=1))

    assert value(own) == pytest.approx(f1_score(gold, predicted, average="micro"))


def test_nothing_to_count() -> None:
    """Sentences without spans have an F1 of 0, and no warning."""
    nothing = f1(np.zeros(12), np.zeros(12), np.zeros(12))

    assert interval_of(nothing) == (0, 0)
