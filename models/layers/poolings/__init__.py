"""Poolings by name: one file a pooling. This module imports no TensorFlow."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.layers.poolings.base import PoolingFunction

POOLINGS: dict[str, str] = {
    module.name: f"{__name__}.{module.name}"
    for module in sorted(pkgutil.iter_modules(__path__))
    if module.name != "base"
}
"""The module of each pooling, which defines `POOLING`. A new pooling is a new module of this package."""


def get_pooling(name: str) -> PoolingFunction:
    """Return the record of a pooling in `POOLINGS`."""
    pooling: PoolingFunction = importlib.import_module(POOLINGS[name]).POOLING
    return pooling
