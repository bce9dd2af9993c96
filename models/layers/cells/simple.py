"""The simple recurrent cell (Elman 1990)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from models.kernels.cudnn import flat_parameters
from models.layers.cells.base import Cell, Kernels, State, Step, Weights


def _step(cell: keras.layers.SimpleRNNCell, inputs: tf.Tensor, state: State) -> State:
    (h,) = state
    sums = tf.matmul(inputs, cell.kernel) + tf.matmul(h, cell.recurrent_kernel)
    return (cell.activation(sums + cell.bias),)


def _loop_step(cell: keras.layers.SimpleRNNCell, weights: Weights) -> Step:
    def step(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [cell.activation(of_input + tf.matmul(state[0], weights[1]))]

    return step


def _cudnn_mode(cell: keras.layers.SimpleRNNCell) -> str | None:
    modes = {keras.activations.tanh: "rnn_tanh", keras.activations.relu: "rnn_relu"}
    return modes.get(cell.activation) if cell.use_bias else None


def _cudnn_parameters(weights: Weights) -> tf.Tensor:
    kernel, recurrent_kernel, bias = weights
    return flat_parameters([kernel, recurrent_kernel], [bias, tf.zeros_like(bias)])


CELL = Cell(
    keras.layers.SimpleRNN,
    states=1,
    step=_step,
    blocks=("state",),
    kernels=Kernels(_loop_step, cudnn_mode=_cudnn_mode, cudnn_parameters=_cudnn_parameters),
)
