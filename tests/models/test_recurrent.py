from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.recurrent import CELLS, RecurrentStack, last_step, merge, reverse

Array = NDArray[np.float64]

WIDTH = 4
UNITS = 3
LENGTHS = [5, 1, 3, 2]
MERGE_MODES = ("concat", "sum", "mul", "ave")
# One direction, and both in each way of joining them.
DIRECTIONS = [(False, "concat"), *((True, mode) for mode in MERGE_MODES)]

each_cell = pytest.mark.parametrize("cell", CELLS)
each_direction = pytest.mark.parametrize(("bidirectional", "merge_mode"), DIRECTIONS)


def stack(**settings: Any) -> RecurrentStack:
    """Return a built stack whose weights are all random: Keras's own biases are zeros and ones."""
    made = RecurrentStack(**{"units": UNITS, "layers": 1, "bidirectional": False, **settings})
    made.build((None, None, WIDTH))
    generator = np.random.default_rng(0)
    made.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in made.get_weights()])
    return made


def batch(lengths: list[int], padding: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return rows of noise, each the same whatever the padding, which is larger noise."""
    sequences = 9 * np.random.default_rng(1).normal(size=(len(lengths), max(lengths) + padding, WIDTH))
    for row, length in enumerate(lengths):
        sequences[row, :length] = np.random.default_rng([2, row]).normal(size=(length, WIDTH))
    return tf.constant(sequences, tf.float32), tf.constant(lengths, tf.int32)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def simple(steps: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """Run a simple recurrent layer over one row: [T, D] → [T, U]."""
    h = np.zeros(UNITS)
    outputs = []
    for x in steps:
        h = np.tanh(x @ kernel + h @ recurrent + bias)
        outputs.append(h)
    return np.array(outputs)


def lstm(steps: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """Run an LSTM over one row: [T, D] → [T, U]."""
    h = c = np.zeros(UNITS)
    outputs = []
    for x in steps:
        i, f, candidate, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def gru(steps: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """Run a GRU over one row, the reset gate after the product: [T, D] → [T, U]."""
    h = np.zeros(UNITS)
    outputs = []
    for x in steps:
        x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3)
        h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3)
        z = sigmoid(x_z + h_z)
        h = z * h + (1 - z) * np.tanh(x_h + sigmoid(x_r + h_r) * h_h)
        outputs.append(h)
    return np.array(outputs)


RUN = {"simple": simple, "lstm": lstm, "gru": gru}
JOIN = {
    "concat": lambda forward, backward: np.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: 0.5 * forward + 0.5 * backward,
}


def expected_row(made: RecurrentStack, steps: Array) -> tuple[Array, Array]:
    """Return the top layer's outputs [T, D'] and final output [D'] for one row without padding."""
    run = RUN[made.settings["cell"]]
    final = steps[-1]
    for i, forward in enumerate(made.forward):
        ahead = run(steps, *forward.get_weights())
        steps, final = ahead, ahead[-1]
        if made.settings["bidirectional"]:
            join = JOIN[made.settings["merge_mode"]]
            # The first output of `behind` was made of the last step, so its last one stands at the first.
            behind = run(outputs_before(made, i, steps_before), *made.backward[i].get_weights())
            steps, final = join(ahead, behind[::-1]), join(ahead[-1], behind[-1])
    return steps, final
