"""What a hyper-parameter search may choose from, for each key of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """All numbers between two bounds, which belong to it; integers if both bounds are integers."""

    low: float
    high: float
    log: bool = False
    """Whether numbers are drawn uniformly from their logarithms, as suits a learning rate."""


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: tuple[Any, ...]


Dimension = Range | Choices
Space = Mapping[str, Dimension]
"""By the key of the configuration, such as `model.units`."""
