"""Small datasets that are generated from a seed, without a network, the same on every machine.

Each has a grammar in which the order of the words decides, not the words alone. Its module has scores of
several models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from data.samples.example import Example
from data.samples.memory import DISTANCES, memory
from data.samples.pairs import pairs
from data.samples.reviews import reviews
from data.samples.tags import tags
from data.samples.text import text
from data.samples.topics import topics

__all__ = ["SAMPLES", "Example", "memory", "pairs", "reviews", "tags", "text", "topics"]

SAMPLES: dict[str, Callable[[int], dict[str, list[Example]]]] = {
    "reviews": reviews,
    "topics": topics,
    "tags": tags,
    "text": text,
    "pairs": pairs,
    "memory": memory,
    **{f"memory-{distance}": partial(memory, distances=[distance]) for distance in DISTANCES},
}
