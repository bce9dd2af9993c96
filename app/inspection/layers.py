"""What a recurrent layer does with its state: how long it is kept, and how saturated its gates are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from app.inspection.memory import Decay, batches_of, mean_by_distance, share_within
from app.inspection.unrolling import unroll
from app.tasks.inspection import Unrolled

CLOSED, OPEN = 0.05, 0.95
"""A gate below the first or above the second value is saturated: its gradient is nearly 0."""


class Saturation(NamedTuple):
    """The values of one gate, of all units and tokens."""

    closed: float
    """Share of the values below `CLOSED`."""
    open: float
    """Share of the values above `OPEN`."""
    mean: float


class LayerMeasure(NamedTuple):
    """A layer of one direction, measured on rows."""

    name: str
    backward: bool
    units: int
    gradients: dict[str, Decay]
    """The norm of ∂h_T/∂h_t by T - t, for the state `hidden`, and of an LSTM also ∂h_T/∂c_t, `memory`."""
    gates: dict[str, Saturation]
    """By name; empty for a cell without gates."""

    def as_json(self) -> dict[str, Any]:
        """Return it by name."""
        return {
            "name": self.name,
            "direction": "backward" if self.backward else "forward",
            "units": self.units,
            "gradients": {
                name: {**decay.as_json(), "half": steps_back(decay)} for name, decay in self.gradients.items()
            },
            "gates": {name: own._asdict() for name, own in self.gates.items()},
        }


def steps_back(decay: Decay) -> float:
    """Return how many steps back half of a gradient reaches; the last state itself does not count."""
    return share_within(decay.norms[1:], 0.5)


def measure_layer(layer: Unrolled) -> LayerMeasure:
    """Measure the gradients of the last hidden state, and the gates.

    The gradient of the last hidden state of a row with respect to a state before is a matrix. Its norm is
    that of its product with a random vector of length 1, another one for each row (Hutchinson 1990): the
    square is on average the squared Frobenius norm divided by the number of units. So it is 1 for the last
    state itself.

    Args:
        layer: with what it reads.
    """
    norms: dict[str, list[np.ndarray]] = {}
    gates: dict[str, list[np.ndarray]] = {}
    lengths = layer.lengths.numpy()
    for rows in batches_of(lengths):
        steps = int(lengths[rows].max())
        trace = unroll(layer.rows(rows, steps), with_gradients=True)
        for name, values in trace.gradients.items():
            ends = zip(values, lengths[rows], strict=True)
            norms.setdefault(name, []).extend(own[length - 1 :: -1] for own, length in ends)
        real = np.arange(steps) < lengths[rows][:, np.newaxis]
        for name, values in trace.gates.items():
            gates.setdefault(name, []).append(values[real])
    return LayerMeasure(
        layer.name,
        layer.backward,
        layer.layer.units,
        {name: mean_by_distance(own) for name, own in norms.items()},
        {name: saturation(np.concatenate(own)) for name, own in gates.items()},
    )


def saturation(values: np.ndarray) -> Saturation:
    """Return the saturation of gate values of any shape, at least one."""
    return Saturation(
        float((values < CLOSED).mean()), float((values > OPEN).mean()), float(values.mean(dtype=np.float64))
    )
