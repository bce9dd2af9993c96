"""Bounds of the inputs of a translator."""

from __future__ import annotations

from app.bounds import BEAM_WIDTH, LENGTH_PENALTY, Bounds

BOUNDS = {
    "width": BEAM_WIDTH,
    "length_penalty": LENGTH_PENALTY,
    "coverage_penalty": Bounds(minimum=0.0, maximum=100.0, default=0.0),
}
"""Of the options of beam search, by name."""
