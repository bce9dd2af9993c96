"""Datasets that the program generates from a seed: small, offline, the same on every machine.

Each is a small grammar of its own in which order, not words, decides; its module says how hard it is.
"""

from __future__ import annotations

from collections.abc import Callable

from data.samples.pairs import pairs
from data.samples.reviews import reviews
from data.samples.row import Row
from data.samples.tags import tags
from data.samples.text import text

__all__ = ["SAMPLES", "Row", "pairs", "reviews", "tags", "text"]

SAMPLES: dict[str, Callable[[int], dict[str, list[Row]]]] = {
    "reviews": reviews,
    "tags": tags,
    "text": text,
    "pairs": pairs,
}
