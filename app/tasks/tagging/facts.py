"""What is known of the tags of a model."""

from __future__ import annotations

from typing import Literal

from app.artifacts.preprocessing import Facts
from data.tags import Scheme

LEARNED_SCHEME: Scheme = "BIO"
"""The scheme of all models whose tags encode spans, whichever scheme their data has."""


class TaggingFacts(Facts):
    """Facts of a tagger."""

    tag_scheme: Literal["plain", "BIO"]
    """`BIO`: tags encode spans; `plain`: each tag is independent."""

    @property
    def has_spans(self) -> bool:
        """Whether tags encode spans."""
        return self.tag_scheme != "plain"
