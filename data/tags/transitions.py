"""Transitions between tags that a scheme allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.tags.schemes import Scheme, fault

if TYPE_CHECKING:
    import numpy as np


def transitions(tags: Sequence[str], scheme: Scheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which of K tags may begin a sentence, follow which, and end it.

    Returns:
        start bool [K]; step bool [K, K], from the row's tag to the column's; end bool [K]. Everything is
        allowed for `plain` tags.
        `transitions(["B-X", "I-X", "O"], "BIO") -> [1 0 1], [[1 1 1] [1 1 1] [1 0 1]], [1 1 1]`
    """
    import numpy as np  # here, so that help is printed without it

    start = np.array([fault(scheme, None, tag) is None for tag in tags], bool)
    end = np.array([fault(scheme, tag, None) is None for tag in tags], bool)
    step = np.array([[fault(scheme, before, tag) is None for tag in tags] for before in tags], bool)
    return start, step.reshape(len(tags), len(tags)), end
