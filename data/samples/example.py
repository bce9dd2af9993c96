"""Examples of generated datasets."""

from __future__ import annotations

from collections.abc import Mapping

Example = Mapping[str, str | tuple[str, ...]]
"""Values by field: a string for a text or a label, a tuple of strings for a sequence of tokens or tags."""
