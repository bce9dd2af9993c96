"""JSON as RFC 8259 has it: the one way in which the program writes it."""

from __future__ import annotations

import functools
import json
import math
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any, **options: Any) -> str:
    r"""Return a value as JSON that UTF-8 can encode.

    JSON has no NaN and no infinity: `null` is written in their place. Half of a surrogate pair, as in a file
    name that is not valid UTF-8, is written as `\uXXXX`.

    `dumps([1.5, nan]) -> "[1.5, null]"`

    Args:
        value: to be written.
        options: of `json.dumps`.
    """
    encoder = _encoder(**options)
    try:
        text = encoder.encode(value)
    except ValueError:
        text = encoder.encode(_finite(value))
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@functools.cache
def _encoder(**options: Any) -> json.JSONEncoder:
    return json.JSONEncoder(allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        # A key that is a float becomes a string, and may be anything.
        return {str(k) if isinstance(k, float) else k: _finite(own) for k, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return value
