"""Explanation of a translation: its attention weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DIGITS = 6


def attention_weights(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of `attention` for one text as JSON.

    Args:
        outputs: `source` [S], `target` [T], `attention` [T, S], and their lengths, scalars.

    Returns:
        `source` and `target` tokens, and `attention`: weights of the source tokens for each target token.
        The last target token, which ends the translation, is left out.
    """
    source_length = int(outputs["source_length"])
    target_length = max(int(outputs["target_length"]) - 1, 0)
    return {
        "source": [token.decode(errors="replace") for token in outputs["source"][:source_length]],
        "target": [token.decode(errors="replace") for token in outputs["target"][:target_length]],
        "attention": [
            [round(float(weight), DIGITS) for weight in weights[:source_length]]
            for weights in outputs["attention"][:target_length]
        ],
    }
