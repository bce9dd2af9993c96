"""What is wrong or odd about data: sentences with places and advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PLACES_SHOWN = 3
"""Number of places that a sentence lists."""
PLACES_KEPT = 100_000
"""Maximum number of places of one finding that are kept."""


@dataclass(frozen=True)
class Finding:
    """An error or a warning about data.

    Its sentence is `WHAT (PLACES); ADVICE`.
    """

    what: str
    advice: str
    places: Sequence[str] = ()
    """The first places, each `FILE:LINE`, or `FILE:LINE: reason` if the reasons differ."""
    total: int = 0
    """Number of places, of which at most `PLACES_KEPT` are kept."""

    def sentence(self, shown: int = PLACES_SHOWN) -> str:
        """Return the finding in one line, with the first places."""
        places = list(self.places[:shown])
        if (more := max(self.total, len(self.places)) - len(places)) > 0 and places:
            places.append(f"and {more:,} more")
        listed = f" ({', '.join(places)})" if places else ""
        return f"{self.what}{listed}; {self.advice}" if self.advice else f"{self.what}{listed}"
