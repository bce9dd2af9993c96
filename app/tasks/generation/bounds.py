"""Bounds of the inputs of a language model."""

from __future__ import annotations

from app.bounds import LARGEST_FLOAT, LARGEST_INTEGER, LENGTH_PENALTY, Bounds

STATE = Bounds(minimum=-1e30, maximum=1e30, default=0.0)
"""Of a recurrent state and of logits: a network can compute with such values without an overflow."""

OPTIONS = {
    "length": Bounds(minimum=1, maximum=LARGEST_INTEGER, default=500),
    "temperature": Bounds(minimum=0.0, maximum=LARGEST_FLOAT, default=1.0),
    "top_k": Bounds(minimum=0, maximum=LARGEST_INTEGER, default=0),
    "top_p": Bounds(minimum=0.0, maximum=1.0, default=1.0, above=True),
    "repetition_penalty": Bounds(minimum=0.01, maximum=100.0, default=1.0),
    "seed": Bounds(minimum=0, maximum=LARGEST_INTEGER, default=0),
    "length_penalty": LENGTH_PENALTY,
}
"""Of the options of `generate`, by name."""
