"""What the recurrent layers hold after each token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from app.inspection.unrolling import unroll
from app.tasks.inspection import Inspection, Text


class LayerStates(NamedTuple):
    """The states and gates of one layer and direction, in the order of the text."""

    name: str
    backward: bool
    tokens: Sequence[str]
    """What it reads."""
    states: dict[str, np.ndarray]
    """By the name of the state, `hidden` and of an LSTM `memory`: float32 [T, U]."""
    gates: dict[str, np.ndarray]
    """By the name of the gate: float32 [T, U]."""

    def as_json(self) -> dict[str, Any]:
        """Return it by name."""
        return {
            "name": self.name,
            "direction": "backward" if self.backward else "forward",
            "tokens": list(self.tokens),
            **{name: values.tolist() for name, values in self.states.items()},
            "gates": {name: values.tolist() for name, values in self.gates.items()},
        }


def states_of(inspection: Inspection[Any, Any], text: Text) -> list[LayerStates]:
    """Return the states of all layers for a text; a layer that reads backwards has seen what follows."""
    found = []
    for layer in inspection.layers(text.vectors):
        order = slice(None, None, -1) if layer.backward else slice(None)
        trace = unroll(layer)
        found.append(
            LayerStates(
                layer.name,
                layer.backward,
                text.tokens[layer.sequence],
                {name: values[0][order] for name, values in trace.states.items()},
                {name: values[0][order] for name, values in trace.gates.items()},
            )
        )
    return found
