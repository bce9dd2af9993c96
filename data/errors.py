"""User errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user, shown as one line `Error: …`.

    The message has what is wrong, the value, what is allowed, and what to do.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint with the most similar known name, or an empty string.

    `did_you_mean("imbd", ["imdb_reviews", "mnist"]) -> "; did you mean 'imdb_reviews'?"`
    """
    names = list(known)
    folded = name.casefold()
    near = difflib.get_close_matches(folded, names, n=1, cutoff=0.6)
    if not near:  # Perhaps the start of a long name, with swapped letters.
        near = [n for n in names if difflib.SequenceMatcher(None, folded, n[: len(name)]).ratio() >= 0.7][:1]
    return f"; did you mean {near[0]!r}?" if near else ""
