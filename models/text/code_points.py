"""Classes and ids of Unicode code points, looked up in tables that are constants of the graph."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import tensorflow as tf

from models.text.invisible import INVISIBLE, ranges

CODE_POINTS = 0x110000
_PAGE = 256
_CATEGORIES = (
    *("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf"),
    *("Po", "Sm", "Sc", "Sk", "So", "Cs", "Co", "Cn", "Cf"),
)
PADDING_CLASS = 0
SPACE_CLASS = 1
"""Spaces of any width."""
INVISIBLE_CLASS = 2
"""Characters without an appearance of their own, see `models.text.invisible`."""
JOINER_CLASS = 3
"""The zero-width joiner, which is invisible, too, and keeps the characters at its sides together."""
MODIFIER_CLASS = 4
"""Skin tones, which belong to the emoji before them."""
REGIONAL_CLASS = 5
"""Regional indicators, of which two are a flag."""
BREAK_CLASS = 6
"""Line breaks and other control characters: white space that is never inside a token."""
_FIRST_CATEGORY = 7
_OF_CATEGORY = {
    **{name: _FIRST_CATEGORY + i for i, name in enumerate(_CATEGORIES)},
    "Zs": SPACE_CLASS,
    **dict.fromkeys(("Zl", "Zp", "Cc"), BREAK_CLASS),
}
MARK_CLASSES = tuple(_OF_CATEGORY[name] for name in ("Mn", "Mc", "Me"))
"""Combining marks, which belong to the character before them."""
CLASSES = _FIRST_CATEGORY + len(_CATEGORIES)
_RANGES = (
    *((first, last, INVISIBLE_CLASS) for first, last in ranges(INVISIBLE)),
    (0x200D, 0x200D, JOINER_CLASS),
    (0x1F3FB, 0x1F3FF, MODIFIER_CLASS),
    (0x1F1E6, 0x1F1FF, REGIONAL_CLASS),
)


@lru_cache(maxsize=1)
def code_point_classes() -> np.ndarray:
    """Return the class of each code point: uint8 [CODE_POINTS], from its general category."""
    found = np.fromiter(
        (_OF_CATEGORY[unicodedata.category(chr(i))] for i in range(CODE_POINTS)), np.uint8, CODE_POINTS
    )
    for first, last, own in _RANGES:
        found[first : last + 1] = own
    return found


class CodePointTable:
    """A table with a value for each code point, of which only the distinct pages are kept."""

    def __init__(self, values: np.ndarray) -> None:
        """Initialize; `values` int [CODE_POINTS], not negative."""
        pages, index = np.unique(values.reshape(-1, _PAGE), axis=0, return_inverse=True)
        self._starts = index.reshape(-1).astype(np.int32) * _PAGE
        self._values = pages.reshape(-1).astype(np.int32)

    def __call__(self, code_points: tf.Tensor) -> tf.Tensor:
        """Return the values of code points: int32 [...] → int32 [...]."""
        starts = tf.gather(tf.constant(self._starts), code_points // _PAGE)
        return tf.gather(tf.constant(self._values), starts + code_points % _PAGE)


def class_table() -> CodePointTable:
    """Return the table of `code_point_classes`."""
    return CodePointTable(code_point_classes())


def id_table(alphabet: Sequence[int], *, first: int, unknown: int) -> CodePointTable:
    """Return a table with the ids of the code points of an alphabet, which count from `first`."""
    ids = np.full(CODE_POINTS, unknown, np.int32)
    ids[list(alphabet)] = np.arange(first, first + len(alphabet))
    return CodePointTable(ids)
