"""Confidence intervals of metrics, and of differences between models, by the bootstrap.

The examples of a split are drawn again, with replacement and as many as there are, and the metric is computed
on each such sample; the middle 95 % of its values are the interval (Efron and Tibshirani 1993, chapter 13).
Models are compared on the same samples, in pairs (Koehn 2004).

Examples with equal outcomes are exchangeable: how often each kind of example is drawn has a multinomial
distribution, which is drawn at once, instead of one example after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
SAMPLES = 10_000
"""Number of samples, of data that has few kinds of examples."""
FEWEST_SAMPLES = 1_000
MOST_DRAWS = 20_000_000
"""Numbers that are drawn for an interval; of data with many kinds of examples there are fewer samples."""
AT_ONCE = 1_000_000
"""Numbers that are in memory at once."""
FEWEST_EXAMPLES = 10
"""Fewer examples say nothing about an interval."""
SEED = 0


class Outcomes(NamedTuple):
    """A metric that is a ratio of two sums over the examples of a split, such as accuracy or F1."""

    numerator: np.ndarray
    """float64 [N]"""
    denominator: np.ndarray
    """float64 [N]; 1 for a mean over examples."""


class Interval(NamedTuple):
    """Limits of a confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """How much better a model is than another one."""

    value: float
    interval: Interval

    @property
    def is_shown(self) -> bool:
        """Whether the interval does not contain 0, so that the examples show which model is better."""
        return not self.interval.low <= 0 <= self.interval.high


OutcomesByMetric = Mapping[str, Outcomes]


def correct(is_correct: np.ndarray) -> Outcomes:
    """Return the outcomes of an accuracy: bool [N]."""
    return Outcomes(is_correct.astype(np.float64), np.ones(len(is_correct)))


def f1(hits: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> Outcomes:
    """Return the outcomes of a micro-averaged F1 from the numbers of items of each example: int [N]."""
    return Outcomes(2.0 * hits, (predicted + gold).astype(np.float64))


def value(outcomes: Outcomes) -> float:
    """Return the metric itself; 0 if there is nothing to count."""
    return float(outcomes.numerator.sum() / max(outcomes.denominator.sum(), 1))


def interval_of(outcomes: Outcomes) -> Interval | None:
    """Return the 95 % interval of a metric; None of fewer than `FEWEST_EXAMPLES` examples."""
    if len(outcomes.numerator) < FEWEST_EXAMPLES:
        return None
    return _interval(_resampled([outcomes])[:, 0])


def difference(models: Sequence[Outcomes], other: Outcomes) -> Difference | None:
    """Compare a model, or the mean of several that differ in their seeds, with another one.

    The samples of several models are also samples of the models, with replacement, so that the interval has
    the variance of both seeds and examples.

    Args:
        models: at least one, all on the same examples.
        other: on the same examples.

    Returns:
        the mean of the models less the other one, with its 95 % interval; None of fewer than
        `FEWEST_EXAMPLES` examples.
    """
    if len(other.numerator) < FEWEST_EXAMPLES:
        return None
    values = _resampled([*models, other])
    random = np.random.default_rng([SEED, len(models)])
    chosen = random.integers(len(models), size=(len(values), len(models)))
    means = np.take_along_axis(values[:, :-1], chosen, axis=1).mean(axis=1)
    mean = float(np.mean([value(own) for own in models]))
    return Difference(mean - value(other), _interval(means - values[:, -1]))


def _resampled(outcomes: Sequence[Outcomes]) -> np.ndarray:
    """Return the metrics of models on the same samples of the examples: float64 [samples, models]."""
    rows = np.stack([column for own in outcomes for column in own], axis=1)
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    samples = min(max(MOST_DRAWS // len(kinds), FEWEST_SAMPLES), SAMPLES)
    random = np.random.default_rng(SEED)
    at_once = max(AT_ONCE // len(kinds), 1)
    sums = np.concatenate(
        [
            random.multinomial(len(rows), counts / len(rows), size=min(at_once, samples - start)) @ kinds
            for start in range(0, samples, at_once)
        ]
    )
    found: np.ndarray = sums[:, ::2] / np.maximum(sums[:, 1::2], 1)
    return found


def _interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
