"""Tags of spans that are nearly written as such: `B_PER`, `b-per`, `PER-B`, and `0` in place of `O`."""

from __future__ import annotations

import re
from functools import lru_cache

from data.tags.schemes import OUTSIDE, parse_tag

_LETTER = "[BIMELSUWbimelsuw]"
_SEPARATOR = r"[\s\-_/\\:|.+~=\u2010-\u2015\u2212\uff0d\uff3f]+"
_PREFIXED = re.compile(f"({_LETTER}){_SEPARATOR}(.+)", re.DOTALL)
_SUFFIXED = re.compile(f"(.+?){_SEPARATOR}({_LETTER})", re.DOTALL)
_OUTSIDE = frozenset(
    ("o", "0", "other", "others", "out", "outside", "none", "null", "nil", "na", "n/a", "_", "-")
).union(
    "\u03bf\u043e"  # the Greek and the Cyrillic letter
)
"""What is written in place of `O`, in lower case."""


@lru_cache(maxsize=1 << 16)
def corrected(tag: str) -> str | None:
    """Return the tag of a span that is probably meant; None for a correct one, and for any other tag.

    `corrected("b_per") -> "B-per"`, `corrected("PER/I") -> "I-PER"`, `corrected("0") -> "O"`
    """
    if parse_tag(tag) is not None:
        return None
    if tag.casefold() in _OUTSIDE:
        return OUTSIDE
    if match := _PREFIXED.fullmatch(tag):
        return f"{match[1].upper()}-{match[2]}"
    if match := _SUFFIXED.fullmatch(tag):
        return f"{match[2].upper()}-{match[1]}"
    return None
