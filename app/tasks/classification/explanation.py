"""Explanation of a classification: the importance of each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DIGITS = 6


def importances(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of `explain` for one text as JSON.

    Args:
        outputs: `tokens`, `start`, `end`, `importance` [T], and `length` and `label`, scalars.

    Returns:
        `label`, and `tokens` with `text`, `start`, `end` (characters) and `importance` (log-odds).
    """
    length = int(outputs["length"])
    columns = (outputs[key][:length] for key in ("tokens", "start", "end", "importance"))
    return {
        "label": outputs["label"].decode(),
        "tokens": [
            {
                "text": text.decode(errors="replace"),
                "start": int(start),
                "end": int(end),
                "importance": round(float(importance), DIGITS),
            }
            for text, start, end, importance in zip(*columns, strict=True)
        ],
    }
