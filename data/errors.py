"""The one exception for a mistake of the person who types the command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What was wrong, the value, what is allowed, what to do next: shown as one line `Error: …`."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, or an empty string.

    `did_you_mean("imbd", ["imdb_reviews", "mnist"]) -> "; did you mean 'imdb_reviews'?"`
    """
    names = list(known)
    folded = name.casefold()
    near = difflib.get_close_matches(folded, names, n=1, cutoff=0.6)
    if not near:  # the start of a long name, with its letters perhaps swapped
        near = [n for n in names if difflib.SequenceMatcher(None, folded, n[: len(name)]).ratio() >= 0.7][:1]
    return f"; did you mean {near[0]!r}?" if near else ""
