"""Names in data: labels, tags and columns, compared as a person reads them."""

from __future__ import annotations

import functools
import unicodedata

_TAG_CHARACTERS = range(0xE0020, 0xE0080)
"""They end the flags of England, Scotland and Wales, which would be one flag without them."""


def _is_margin(character: str) -> bool:
    """Return whether a character is white space or invisible."""
    if ord(character) in _TAG_CHARACTERS:
        return False
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf")


@functools.lru_cache(maxsize=1 << 16)
def _clean(name: str) -> str:
    start, end = 0, len(name)
    while start < end and _is_margin(name[start]):
        start += 1
    while end > start and _is_margin(name[end - 1]):
        end -= 1
    return unicodedata.normalize("NFC", name[start:end])


def clean_name(name: str) -> str:
    r"""Return a name without white space and invisible characters at its ends, in normalization form C.

    `clean_name("\ufeff cafe\u0301 ") -> "café"`
    """
    if name.isascii() and name.isprintable():
        return name.strip(" ")
    return _clean(name)


def control_character(name: str) -> str | None:
    """Return the first control character or line separator of a name, or None.

    Names are lines of files, and are printed on terminals.
    """
    if name.isprintable():
        return None
    return next((c for c in name if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
