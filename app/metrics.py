"""Metrics: name, direction and how each is shown, in one place.

A task lists the metrics that it has; whatever selects the best epoch, prints or compares a metric asks here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is."""

    name: str
    """Key in `metrics.jsonl` and `evaluate --json`."""
    title: str
    """Name in tables and progress lines."""
    higher_is_better: bool = True

    def score(self, value: float) -> float:
        """Return the value, negated if lower is better: larger scores are always better."""
        return value if self.higher_is_better else -value


@dataclass(frozen=True)
class MetricsByName(Mapping[str, Metric]):
    """The metrics that a function returns at each access, by name."""

    metrics: Callable[[], Sequence[Metric]]

    def __getitem__(self, name: str) -> Metric:
        return {metric.name: metric for metric in self.metrics()}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([metric.name for metric in self.metrics()])

    def __len__(self) -> int:
        return len(self.metrics())


LOSS = Metric("loss", "loss", higher_is_better=False)
RECURRENT_LOSS = Metric("recurrent_loss", "recurrent loss", higher_is_better=False)
"""Loss of the recurrent branch alone, of a network that also has a linear model."""
ACCURACY = Metric("accuracy", "accuracy")
MACRO_F1 = Metric("macro_f1", "macro F1")
MICRO_F1 = Metric("micro_f1", "micro F1")
SUBSET_ACCURACY = Metric("subset_accuracy", "subset accuracy")
AVERAGE_PRECISION = Metric("average_precision", "average precision")
SPAN_F1 = Metric("span_f1", "span F1")
TOKEN_F1 = Metric("token_f1", "token F1")
LABEL_ACCURACY = Metric("label_accuracy", "label accuracy")
EXACT_MATCH = Metric("exact_match", "exact match")
PERPLEXITY = Metric("perplexity", "perplexity", higher_is_better=False)
BLEU = Metric("bleu", "BLEU")


def token_scores(nats: float, correct: float, tokens: float) -> dict[str, float]:
    """Compute the metrics of predicted tokens from sums over tokens.

    Args:
        nats: summed loss.
        correct: number of tokens that were predicted; a token out of vocabulary never is.
        tokens: number of all tokens.

    Returns:
        `loss` in nats per token, `perplexity` and `accuracy`.
    """
    loss = nats / max(tokens, 1)
    return {"loss": loss, "perplexity": perplexity(loss), "accuracy": correct / max(tokens, 1)}


def perplexity(loss: float) -> float:
    """Compute the perplexity of a loss in nats per token; losses above 700 are clipped to avoid overflow."""
    return math.exp(min(loss, 700.0))
