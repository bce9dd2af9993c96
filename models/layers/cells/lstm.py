"""Long short-term memory (Hochreiter and Schmidhuber 1997), with forget gates (Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from models.kernels.cudnn import flat_parameters, has_default_gates
from models.layers.cells.base import Cell, Kernels, State, Step, Weights


def _update(cell: keras.layers.LSTMCell, gates: tf.Tensor, c: tf.Tensor) -> State:
    """Return (h, c) from the sums of all gates [N, 4U] and the previous c."""
    i, f, candidate, o = tf.split(gates, 4, axis=1)
    c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(candidate)
    return cell.recurrent_activation(o) * cell.activation(c), c


def _sums(cell: keras.layers.LSTMCell, inputs: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    """Return the sums of all gates before their activation: float [N, 4U]."""
    return tf.matmul(inputs, cell.kernel) + tf.matmul(h, cell.recurrent_kernel) + cell.bias


def _step(cell: keras.layers.LSTMCell, inputs: tf.Tensor, state: State) -> State:
    h, c = state
    return _update(cell, _sums(cell, inputs, h), c)


def _gates(cell: keras.layers.LSTMCell, inputs: tf.Tensor, state: State) -> dict[str, tf.Tensor]:
    i, f, _, o = tf.split(cell.recurrent_activation(_sums(cell, inputs, state[0])), 4, axis=1)
    return {"input": i, "forget": f, "output": o}


def _loop_step(cell: keras.layers.LSTMCell, weights: Weights) -> Step:
    def step(of_input: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        h, c = state
        return list(_update(cell, of_input + tf.matmul(h, weights[1]), c))

    return step


def _cudnn_mode(cell: keras.layers.LSTMCell) -> str | None:
    return "lstm" if has_default_gates(cell) else None


def _cudnn_parameters(weights: Weights) -> tf.Tensor:
    kernel, recurrent_kernel, bias = weights
    matrices = [*tf.split(kernel, 4, axis=1), *tf.split(recurrent_kernel, 4, axis=1)]
    return flat_parameters(matrices, [bias, tf.zeros_like(bias)])


CELL = Cell(
    keras.layers.LSTM,
    states=2,
    step=_step,
    blocks=("input", "forget", "candidate", "output"),
    gates=_gates,
    kernels=Kernels(_loop_step, cudnn_mode=_cudnn_mode, cudnn_parameters=_cudnn_parameters, has_block=True),
)
