"""What a model card says of a task, where tasks differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.settings import RecurrentSettings

NAMES = {"simple": "simple recurrent", "gru": "GRU", "lstm": "LSTM", "mingru": "minGRU"}
"""Cells as texts name them; others have their names in the configuration."""


@dataclass(frozen=True)
class TaskCard:
    """Sentences about a model, and an example of its use."""

    pipeline: str
    """The task by the name that model hubs have for it (`pipeline_tag`)."""
    purpose: str
    """What the model does."""
    network: str
    """What it computes, from the first layer to the last."""
    limits: Sequence[str]
    """What it cannot do."""
    command: str
    """A line of the shell that gives the model an example; `MODEL` is the path of a run or an export."""
    call: str
    """A call of the method of `textrnn.Model` that does the same."""
    inputs: Mapping[str, Any]
    """The example as inputs of `serving_default`, by name, without the dimension of rows: strings, integers
    and floats."""


def layers(settings: RecurrentSettings) -> str:
    """Return the recurrent layers in a few words.

    `a bidirectional GRU layer of 64 units in each direction`, `2 LSTM layers of 32 units`, or
    `no recurrent layer`.
    """
    if not settings.layers:
        return "no recurrent layer"
    cell = NAMES.get(settings.cell, settings.cell)
    both = bool(getattr(settings, "bidirectional", False))
    direction = "bidirectional " if both else ""
    size = f"{settings.units} units{' in each direction' if both else ''}"
    if settings.layers == 1:
        article = "an" if cell == "LSTM" and not both else "a"
        return f"{article} {direction}{cell} layer of {size}"
    return f"{settings.layers} {direction}{cell} layers of {size}"
