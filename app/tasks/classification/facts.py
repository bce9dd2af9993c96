"""What a classifier needs to know besides its vocabularies."""

from __future__ import annotations

from app.artifacts.preprocessing import Facts


class ClassificationFacts(Facts):
    """Facts of a classifier."""

    several_labels: bool = False
    """Whether a text has any number of labels, rather than one."""
    ngrams: int = 0
    """Number of n-grams of two words or more that a model with n-grams knows."""
