"""What the generated datasets are made of."""

from __future__ import annotations

from collections.abc import Mapping

Row = Mapping[str, str | tuple[str, ...]]
"""Values by field: a text or a label is a string, a sequence of tokens or tags a tuple of strings."""
