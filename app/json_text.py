"""JSON as RFC 8259 has it: the one way in which the program writes it."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """Return a value as JSON. JSON has no NaN and no infinity: `null` is written in their place.

    `dumps([1.5, nan]) -> "[1.5, null]"`

    Args:
        value: to be written.
        options: of `json.dumps`.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        # A key that is a float becomes a string, and may be anything.
        return {str(k) if isinstance(k, float) else k: _finite(own) for k, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return value
