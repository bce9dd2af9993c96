r"""`sample:memory`: texts whose label stands 5, 20, 80 or 200 tokens before their end.

    a house of glass green tree wind or stone the                  green

Exactly one word of a text is a colour, the label. All other words are drawn at random and say nothing. A
network that reads from left to right, and whose last state alone is classified, must remember the colour
until the end:

    textrnn train classification sample:memory --set model.bidirectional=false --set model.pooling=last \
        --set model.ngrams=0

`sample:memory-5`, `sample:memory-20`, `sample:memory-80` and `sample:memory-200` have texts of one distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from data.samples.example import Example

DISTANCES = (5, 20, 80, 200)
"""Tokens after the colour."""
COLOURS = ("blue", "gold", "green", "red")
OTHERS = (
    *("a", "and", "bird", "cloud", "field", "glass", "house", "is", "lake", "night", "of", "old", "or"),
    *("path", "rain", "sea", "small", "stone", "the", "tree", "under", "wall", "wind", "with"),
)
MOST_BEFORE = 10
"""Words before the colour, at most."""
SPLIT_SIZES = {"train": 2400, "validation": 400, "test": 400}


def memory(seed: int = 0, distances: Sequence[int] = DISTANCES) -> dict[str, list[Example]]:
    """Return the splits of `sample:memory`: "train" (2,400 examples), "validation" and "test" (400).

    An example is `{"text": ..., "label": ...}`. Each distance occurs as often as the others, with each colour
    as often as with the others.

    Args:
        seed: all depends on it alone.
        distances: numbers of tokens after the colour.
    """
    generator = Random(seed)
    return {split: _split(generator, size, distances) for split, size in SPLIT_SIZES.items()}


def _split(generator: Random, size: int, distances: Sequence[int]) -> list[Example]:
    kinds = [(colour, distance) for colour in COLOURS for distance in distances]
    examples: list[Example] = []
    for place in range(size):
        colour, distance = kinds[place % len(kinds)]
        before = generator.choices(OTHERS, k=generator.randint(0, MOST_BEFORE))
        after = generator.choices(OTHERS, k=distance)
        examples.append({"text": " ".join([*before, colour, *after]), "label": colour})
    generator.shuffle(examples)
    return examples
