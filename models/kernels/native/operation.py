"""The native operation for recurrent layers on a CPU, with its gradient.

`TextrnnRecurrent` runs all steps of one layer, or of the two directions of one, over padded rows. A row
depends neither on its padding nor on other rows, and no result on the number of threads, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.kernels.native.library import operations

_CELLS = {keras.layers.LSTM: "lstm", keras.layers.GRU: "gru", keras.layers.SimpleRNN: "simple"}
_ACTIVATIONS = {
    keras.activations.tanh: "tanh",
    keras.activations.sigmoid: "sigmoid",
    keras.activations.relu: "relu",
}


class Outputs(NamedTuple):
    """What a layer, or its N directions, returns."""

    sequences: tf.Tensor
    """float32 [B, T, N · U]; 0 beyond a row's length. The second direction is at the steps of its inputs."""
    hidden: tf.Tensor
    """float32 [N, B, U], after the last step of each row and direction."""
    memory: tf.Tensor | None
    """Likewise of an LSTM; else None."""


def supports(layers: Sequence[keras.layers.RNN]) -> bool:
    """Return whether the operation computes these layers: one, or the two directions of one.

    It has no layers without a bias, in another precision than float32, with other activations, or GRUs that
    reset before the product.
    """
    return all(
        type(layer) in _CELLS
        and layer.compute_dtype == "float32"
        and layer.cell.use_bias
        and layer.cell.activation in _ACTIVATIONS
        and getattr(layer.cell, "recurrent_activation", keras.activations.sigmoid)
        is keras.activations.sigmoid
        and getattr(layer.cell, "reset_after", True)
        and not layer.cell.dropout
        for layer in layers
    )


def run(
    layers: Sequence[keras.layers.RNN],
    sequences: tf.Tensor,
    lengths: tf.Tensor,
    state: Sequence[tf.Tensor] = (),
    *,
    training: bool = False,
    differentiable: bool = True,
    frozen: bool = False,
    recurrents: Sequence[tf.Tensor] = (),
) -> Outputs:
    """Run a layer, or both directions of one.

    Args:
        layers: built layers that `supports` accepts; a second one runs backwards within each row's length.
        sequences: float32 [B, T, D], right-padded.
        lengths: int32 [B], each from 0 to T.
        state: at the first step, float32 [N, B, U] each: h, and of an LSTM c; empty for zeros.
        training: whether recurrent dropout is applied.
        differentiable: whether gradients of the first order may be needed, for which the gates of all steps
            are kept.
        frozen: whether the weights never change again: a graph then packs them once.
        recurrents: values that replace the recurrent kernels of the layers; empty for none.

    Raises:
        tf.errors.InvalidArgumentError: a shape does not fit, or a length is not from 0 to T.
    """
    cells = [layer.cell for layer in layers]
    none = tf.zeros([0])
    is_lstm = isinstance(layers[0], keras.layers.LSTM)
    drops = training and cells[0].recurrent_dropout > 0
    found = operations().textrnn_recurrent(
        x=sequences,
        lengths=tf.cast(lengths, tf.int32),
        hidden=state[0] if state else none,
        memory=state[1] if is_lstm and state else none,
        masks=tf.stack([_mask(cell, tf.shape(sequences)[0]) for cell in cells]) if drops else none,
        kernels=[tf.convert_to_tensor(cell.kernel) for cell in cells],
        recurrents=[
            tf.convert_to_tensor(value) for value in recurrents or [cell.recurrent_kernel for cell in cells]
        ],
        biases=[tf.convert_to_tensor(cell.bias) for cell in cells],
        cell=_CELLS[type(layers[0])],
        activation=_ACTIVATIONS[cells[0].activation],
        training=differentiable,
        frozen=frozen,
    )
    units = layers[0].units
    outputs, hidden, memory = found.y, found.last_hidden, found.last_memory
    outputs.set_shape([sequences.shape[0], sequences.shape[1], len(layers) * units])
    hidden.set_shape([len(layers), sequences.shape[0], units])
    if is_lstm:
        memory.set_shape([len(layers), sequences.shape[0], units])
    return Outputs(outputs, hidden, memory if is_lstm else None)


def _mask(cell: Any, rows: tf.Tensor) -> tf.Tensor:
    """Return the dropout mask of a cell's hidden state, for each gate: float32 [G, B, U]."""
    masks = cell.get_recurrent_dropout_mask(tf.zeros([rows, cell.units]))
    cell.reset_recurrent_dropout_mask()
    return tf.stack(masks if isinstance(masks, list) else [masks])


def _gradient(
    operation: tf.Operation,
    of_outputs: tf.Tensor,
    of_hidden: tf.Tensor,
    of_memory: tf.Tensor,
    *_: tf.Tensor,
) -> list[tf.Tensor | None]:
    """Return the gradients of the inputs of the operation."""
    if not operation.get_attr("training"):
        raise ValueError("the layer was run without differentiable=True: it has no gradients")
    directions = operation.get_attr("N")
    first, weights = operation.inputs[:5], operation.inputs[5:]
    outputs, _, _, gates, memories = operation.outputs
    found = operations().textrnn_recurrent_grad(
        *first,
        *(weights[i * directions : (i + 1) * directions] for i in range(3)),
        outputs,
        gates,
        memories,
        of_outputs,
        of_hidden,
        of_memory,
        cell=operation.get_attr("cell"),
        activation=operation.get_attr("activation"),
        training=True,
    )
    _, _, hidden, memory, _ = first
    found.dx.set_shape(first[0].shape)
    of_weights = [*found.dkernels, *found.drecurrents, *found.dbiases]
    for gradient, weight in zip(of_weights, weights, strict=True):
        gradient.set_shape(weight.shape)
    return [
        found.dx,
        None,
        found.dhidden if hidden.shape.rank == 3 else None,
        found.dmemory if memory.shape.rank == 3 else None,
        None,
        *of_weights,
    ]


tf.RegisterGradient("TextrnnRecurrent")(_gradient)
