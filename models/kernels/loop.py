"""A loop over the steps of any cell, for every host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.cells.base import Cell, Kernels, State, Weights

STEPS_A_TURN = 4
"""Steps of one turn of the loop; more make a larger graph and waste more steps at the end of a text."""


def run_loop(
    kernels: Kernels,
    cell: Any,
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    state: list[tf.Tensor],
    weights: Weights,
    wants_memory: bool,
) -> tuple[tf.Tensor, ...]:
    """Run a cell that has `Kernels`, a few steps a turn.

    The product of inputs and weights of one turn stays in the cache of the CPU.
    """
    units = state[0].shape[1]
    rows, steps = tf.unstack(tf.shape(inputs)[:2])
    turns = (steps + STEPS_A_TURN - 1) // STEPS_A_TURN
    by_step = tf.transpose(inputs, [1, 0, 2])
    by_step = tf.pad(by_step, [[0, turns * STEPS_A_TURN - steps], [0, 0], [0, 0]])
    step = kernels.step(cell, weights)
    kernel = weights[0]
    bias = kernels.input_bias(weights[2]) if len(weights) > 2 else None

    def body(turn: tf.Tensor, outputs_of_turns: tf.TensorArray, state: list[tf.Tensor], kept: Any) -> Any:
        start = turn * STEPS_A_TURN
        piece = by_step[start : start + STEPS_A_TURN]
        multiplied = tf.matmul(tf.reshape(piece, [-1, inputs.shape[2]]), kernel)
        if bias is not None:
            multiplied = tf.nn.bias_add(multiplied, bias)
        multiplied = tf.reshape(multiplied, [STEPS_A_TURN, rows, kernel.shape[1]])
        outputs = []
        for i, of_step in enumerate(tf.unstack(multiplied, STEPS_A_TURN)):
            state = step(of_step, state)
            outputs.append(state[0])
            if wants_memory:
                kept = (tf.where((start + i < lengths)[:, tf.newaxis], state[1], kept[0]),)
        return turn + 1, outputs_of_turns.write(turn, tf.stack(outputs)), state, kept

    outputs_of_turns = tf.TensorArray(inputs.dtype, turns, element_shape=[STEPS_A_TURN, None, units])
    _, outputs_of_turns, _, kept = tf.while_loop(
        lambda turn, *_: turn < turns,
        body,
        (tf.constant(0), outputs_of_turns, state, (state[1],) if wants_memory else ()),
        maximum_iterations=turns,
    )
    return tf.transpose(outputs_of_turns.concat()[:steps], [1, 0, 2]), *kept


def run_steps(
    cell: Cell, keras_cell: Any, inputs: tf.Tensor, lengths: tf.Tensor, state: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, State]:
    """Run any cell, one step a turn.

    Args:
        cell: its record.
        keras_cell: the cell of the Keras layer.
        inputs: float [B, T, D].
        lengths: int32 [B], each from 1 to T.
        state: at the first step.

    Returns:
        outputs [B, T, U]; the state after the last step of each row.
    """
    by_step = tf.transpose(inputs, [1, 0, 2])
    steps = tf.shape(by_step)[0]
    outputs = tf.TensorArray(inputs.dtype, steps, element_shape=state[0].shape)

    def body(i: tf.Tensor, outputs: tf.TensorArray, state: State, kept: State) -> Any:
        state = tuple(cell.step(keras_cell, by_step[i], state))
        is_real = (i < lengths)[:, tf.newaxis]
        kept = tuple(tf.where(is_real, new, old) for new, old in zip(state, kept, strict=True))
        return i + 1, outputs.write(i, state[0]), state, kept

    _, outputs, _, kept = tf.while_loop(
        lambda i, *_: i < steps,
        body,
        (tf.constant(0), outputs, tuple(state), tuple(state)),
        maximum_iterations=steps,
    )
    return tf.transpose(outputs.stack(), [1, 0, 2]), kept
