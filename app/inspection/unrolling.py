"""A recurrent layer, step by step: its states, its gates, and gradients along its states."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from app.tasks.inspection import Unrolled
from models.kernels.steps import last_step, reverse
from models.layers.cells import cell_of

if TYPE_CHECKING:
    import keras

    from models.layers.cells.base import State

STATES = ("hidden", "memory")
"""Names of the tensors of a state: h, and c of an LSTM."""


class Trace(NamedTuple):
    """What a layer computes, in the order in which it reads."""

    states: dict[str, np.ndarray]
    """After each step, by the names of `STATES`: float32 [B, T, U]."""
    gates: dict[str, np.ndarray]
    """By the name of the gate: float32 [B, T, U], from 0 to 1."""
    gradients: dict[str, np.ndarray]
    """By the name of the state, float [B, T]: the norm of the gradient of the last hidden state of a row,
    multiplied by a random vector of length 1, with respect to the state after each step. Empty unless asked
    for."""


def unroll(layer: Unrolled, *, with_gradients: bool = False) -> Trace:
    """Run a layer one step after the other.

    Args:
        layer: with what it reads.
        with_gradients: whether to compute `Trace.gradients`.
    """
    graph = tf.function(partial(_run, layer.layer, with_gradients), autograph=False)
    inputs = reverse(layer.inputs, layer.lengths) if layer.backward else layer.inputs
    start = layer.initial
    if start is None:
        start = [tf.zeros([len(inputs), layer.layer.units])] * cell_of(layer.layer).states
    found = graph(inputs, layer.lengths, tuple(start))
    return Trace(*({name: value.numpy() for name, value in part.items()} for part in found))


def _run(
    layer: keras.layers.RNN, with_gradients: bool, inputs: tf.Tensor, lengths: tf.Tensor, start: State
) -> tuple[dict[str, tf.Tensor], ...]:
    """Return states, gates and gradients as `Trace` has them.

    The loop adds zeros to the state after each step: the gradient with respect to them is that with respect
    to the state as input of the next step, of each tensor independent of the other.
    """
    keras_cell, cell = layer.cell, cell_of(layer)
    by_step = tf.transpose(inputs, [1, 0, 2])
    steps, rows = tf.unstack(tf.shape(by_step)[:2])
    units, names = layer.units, STATES[: cell.states]
    zeros = [tf.zeros([steps, rows, units]) for _ in names]
    gate_names = list(cell.gates(keras_cell, by_step[0], start))
    arrays = [tf.TensorArray(tf.float32, steps, element_shape=[None, units]) for _ in (*names, *gate_names)]

    def body(step: tf.Tensor, state: State, arrays: list[tf.TensorArray]) -> Any:
        gates = cell.gates(keras_cell, by_step[step], state)
        after = cell.step(keras_cell, by_step[step], state)
        state = tuple(own + zero[step] for own, zero in zip(after, zeros, strict=True))
        values = [*state, *(gates[name] for name in gate_names)]
        return step + 1, state, [a.write(step, v) for a, v in zip(arrays, values, strict=True)]

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(zeros)
        *_, arrays = tf.while_loop(
            lambda step, *_: step < steps, body, (tf.constant(0), start, arrays), maximum_iterations=steps
        )
        values = [tf.transpose(array.stack(), [1, 0, 2]) for array in arrays]
        direction = tf.math.l2_normalize(tf.random.stateless_normal([rows, units], seed=(0, 0)), axis=1)
        last = tf.reduce_sum(last_step(values[0], lengths) * direction)
    gradients = {}
    if with_gradients:
        found = tape.gradient(last, zeros)
        gradients = {name: tf.transpose(tf.norm(own, axis=2)) for name, own in zip(names, found, strict=True)}
    states = dict(zip(names, values[: len(names)], strict=True))
    return states, dict(zip(gate_names, values[len(names) :], strict=True)), gradients
