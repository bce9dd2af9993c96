"""Poolings by name: one file a pooling. This module imports no TensorFlow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.layers.poolings.base import PoolingFunction

POOLINGS: dict[str, str] = {
    "last": "models.layers.poolings.last",
    "max": "models.layers.poolings.max",
    "mean": "models.layers.poolings.mean",
    "max_mean": "models.layers.poolings.max_mean",
    "attention": "models.layers.poolings.attention",
}
"""The module of each pooling, which defines `POOLING`. A new pooling is a module and an entry here."""


def get_pooling(name: str) -> PoolingFunction:
    """Return the record of a pooling in `POOLINGS`."""
    pooling: PoolingFunction = importlib.import_module(POOLINGS[name]).POOLING
    return pooling
