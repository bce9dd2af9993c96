"""The gated recurrent unit (Cho et al. 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from models.kernels.cudnn import flat_parameters, has_default_gates
from models.layers.cells.base import Cell, Kernels, State, Step, Weights


def _parts(cell: keras.layers.GRUCell, inputs: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return update gate, reset gate, and the sums of the candidate from input and state: [N, U] each."""
    of_input, of_hidden = tf.unstack(tf.convert_to_tensor(cell.bias))
    x_z, x_r, x_h = tf.split(tf.matmul(inputs, cell.kernel) + of_input, 3, axis=-1)
    h_z, h_r, h_h = tf.split(tf.matmul(h, cell.recurrent_kernel) + of_hidden, 3, axis=-1)
    return cell.recurrent_activation(x_z + h_z), cell.recurrent_activation(x_r + h_r), x_h, h_h


def _step(cell: keras.layers.GRUCell, inputs: tf.Tensor, state: State) -> State:
    """Take one step; the reset gate is applied after the product, as `keras.layers.GRU` does by default."""
    (h,) = state
    z, r, x_h, h_h = _parts(cell, inputs, h)
    return (z * h + (1 - z) * cell.activation(x_h + r * h_h),)


def _gates(cell: keras.layers.GRUCell, inputs: tf.Tensor, state: State) -> dict[str, tf.Tensor]:
    update, reset, _, _ = _parts(cell, inputs, state[0])
    return {"update": update, "reset": reset}


def _loop_step(cell: keras.layers.GRUCell, weights: Weights) -> Step:
    """Return a step with the reset gate before the product, or after it as cuDNN applies it."""
    kernel = weights[1]
    units = cell.units

    def gates(of_input: tf.Tensor, of_hidden: tf.Tensor) -> list[tf.Tensor]:
        both: list[tf.Tensor] = tf.split(cell.recurrent_activation(of_input + of_hidden), 2, axis=1)
        return both

    def after(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        (h,) = state
        product = tf.matmul(h, kernel)
        if len(weights) > 2:
            product = tf.nn.bias_add(product, weights[2][1])
        of_gates, of_candidate = tf.split(product, [2 * units, units], axis=1)
        for_gates, for_candidate = tf.split(of_input, [2 * units, units], axis=1)
        update, reset = gates(for_gates, of_gates)
        candidate = cell.activation(for_candidate + reset * of_candidate)
        return [candidate + update * (h - candidate)]

    def before(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        (h,) = state
        for_gates, for_candidate = tf.split(of_input, [2 * units, units], axis=1)
        update, reset = gates(for_gates, tf.matmul(h, kernel[:, : 2 * units]))
        candidate = cell.activation(for_candidate + tf.matmul(reset * h, kernel[:, 2 * units :]))
        return [candidate + update * (h - candidate)]

    return after if cell.reset_after else before


def _input_bias(bias: tf.Tensor) -> tf.Tensor:
    return bias[0] if bias.shape.rank == 2 else bias


def _cudnn_mode(cell: keras.layers.GRUCell) -> str | None:
    return "gru" if has_default_gates(cell) and cell.reset_after else None


def _cudnn_parameters(weights: Weights) -> tf.Tensor:
    """Return the parameters in the order of cuDNN: reset gate first; in Keras the update gate is first."""
    kernel, recurrent_kernel, bias = weights

    def reset_first(gates: list[tf.Tensor]) -> list[tf.Tensor]:
        update, reset, candidate = gates
        return [reset, update, candidate]

    matrices = [
        gate for matrix in (kernel, recurrent_kernel) for gate in reset_first(tf.split(matrix, 3, axis=1))
    ]
    biases = [gate for vector in tf.unstack(bias) for gate in reset_first(tf.split(vector, 3))]
    return flat_parameters(matrices, biases)


CELL = Cell(
    keras.layers.GRU,
    states=1,
    step=_step,
    blocks=("update", "reset", "candidate"),
    gates=_gates,
    kernels=Kernels(_loop_step, _input_bias, _cudnn_mode, _cudnn_parameters),
)
