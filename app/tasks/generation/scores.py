"""Metrics of language models."""

from __future__ import annotations

import math

from app.metrics import ACCURACY, LOSS, PERPLEXITY, Metric

METRICS: tuple[Metric, ...] = (ACCURACY, PERPLEXITY, LOSS)
"""The metrics that may select the best epoch."""


def bits_per_character(nats: float, characters: int) -> float:
    """Compute bits per character from a summed loss in nats."""
    return nats / max(characters, 1) / math.log(2)
