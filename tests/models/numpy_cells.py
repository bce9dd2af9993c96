"""Recurrent cells in NumPy, written from their papers, to compare the networks with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Activation = Callable[[Array], Array]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def step_cell(
    cell: str, weights: Sequence[Array], x: Array, states: Sequence[Array], activation: Activation = np.tanh
) -> list[Array]:
    """Run one step of a cell: x [D], states [U] each, the hidden state first → states."""
    h = states[0]
    if cell == "mingru":
        kernel, bias = weights
        gate, candidate = np.split(x @ kernel + bias, 2)
        z = sigmoid(gate)
        return [(1 - z) * h + z * np.where(candidate >= 0, candidate + 0.5, sigmoid(candidate))]
    kernel, recurrent, bias = weights
    if cell == "simple":
        return [activation(x @ kernel + h @ recurrent + bias)]
    if cell == "lstm":
        i, f, candidate, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * states[1] + sigmoid(i) * activation(candidate)
        return [sigmoid(o) * activation(c), c]
    assert cell == "gru"
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3)
    h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    return [z * h + (1 - z) * activation(x_h + r * h_h)]


def run_cell(cell: str, weights: Sequence[Array], steps: Array, activation: Activation = np.tanh) -> Array:
    """Run a cell over one row, from states of zeros: [T, D] → [T, U]."""
    units = weights[0].shape[1] // {"simple": 1, "mingru": 2, "gru": 3, "lstm": 4}[cell]
    states = [np.zeros(units)] * 2
    outputs = []
    for x in steps:
        states = step_cell(cell, weights, x, states, activation)
        outputs.append(states[0])
    return np.array(outputs)
