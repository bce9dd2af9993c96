"""Metrics of language models."""

from __future__ import annotations

import math

from app.metrics import ACCURACY, LOSS, PERPLEXITY, Metric, perplexity

METRICS: tuple[Metric, ...] = (ACCURACY, PERPLEXITY, LOSS)
"""The metrics that may select the best epoch."""


def scores(nats: float, correct: float, tokens: float) -> dict[str, float]:
    """Compute the metrics from sums over tokens."""
    loss = nats / max(tokens, 1)
    return {"loss": loss, "perplexity": perplexity(loss), "accuracy": correct / max(tokens, 1)}


def bits_per_character(nats: float, characters: int) -> float:
    """Compute bits per character from a summed loss in nats."""
    return nats / max(characters, 1) / math.log(2)
