"""Recurrent layers for inference, with a kernel for each kind of host in one graph.

On a CPU:

* an LSTM over few rows runs `BlockLSTMV2`, which computes all steps in one operation (see
  `models.kernels.block`);
* everything else runs a loop of a few steps a turn (see `models.kernels.loop`). For many rows this is faster
  than `BlockLSTMV2`, which keeps every gate of every step.

On a GPU, `CudnnRNNV3` runs where cuDNN has the cell (see `models.kernels.cudnn`): with the activations of the
papers and with a bias. Other cells run the loop on every host; those without `Kernels` run their Keras layer.
How a host chooses is in `models.kernels.devices`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from models.kernels import block as blocks
from models.kernels.block import run_block, stack_kernels, stacked_weights
from models.kernels.cudnn import run_cudnn
from models.kernels.devices import either, for_each_device
from models.kernels.loop import run_loop, run_steps
from models.kernels.steps import last_step, reverse
from models.layers.cells import cell_of
from models.layers.cells.base import Weights


def has_cudnn_kernel(layer: keras.layers.RNN) -> bool:
    """Return whether a host with a GPU runs cuDNN for this layer."""
    kernels = cell_of(layer).kernels
    return kernels is not None and kernels.cudnn_mode(layer.cell) is not None


def prepare(layer: keras.layers.RNN) -> None:
    """Stack the two matrices of an LSTM in one variable, as `BlockLSTMV2` takes them in each call.

    Call it when the weights are final: the variable does not follow them.
    """
    if _has_block(layer):
        layer.stacked_kernel = tf.Variable(stack_kernels(layer.cell), trainable=False, name="stacked_kernel")


def run(
    layer: keras.layers.RNN,
    sequences: tf.Tensor,
    lengths: tf.Tensor,
    state: Sequence[tf.Tensor] | None = None,
    *,
    wants_state: bool = False,
) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    """Run a layer as in inference, without dropout.

    All results must be used. They have no gradients.

    Args:
        layer: a built layer of one of the `CELLS`.
        sequences: float32 [B, T, D], right-padded.
        lengths: int32 [B], each from 1 to T.
        state: at the first step, float32 [B, U] each: h, and for an LSTM c; None for zeros.
        wants_state: whether to return the state after each row's last step.

    Returns:
        outputs float32 [B, T, U], meaningless beyond a row's length; the state, or nothing.
    """
    cell = cell_of(layer)
    if cell.kernels is None:
        if wants_state and cell.states > 1:
            zeros = [tf.zeros([tf.shape(sequences)[0], layer.units], sequences.dtype)] * cell.states
            return run_steps(cell, layer.cell, sequences, lengths, state or zeros)
        outputs = _by_keras(layer, sequences, state)
        return outputs, (last_step(outputs, lengths),) if wants_state else ()
    # The h of a last step is found in the outputs, the c of an LSTM is not.
    wants_memory = wants_state and cell.states == 2
    outputs, *memory = _run([layer], sequences, lengths, state, wants_memory)
    return outputs, (last_step(outputs, lengths), *memory) if wants_state else ()


def run_both(
    layers: tuple[keras.layers.RNN, keras.layers.RNN], sequences: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
    """Run two layers of one class, each as `run` does; the second one backwards within each row's length.

    Returns:
        outputs of both in the order of the text, float32 [B, T, 2U].
    """
    if cell_of(layers[0]).kernels is None:
        ahead, behind = layers
        both = [_by_keras(ahead, sequences, None), _by_keras(behind, reverse(sequences, lengths), None)]
        return _merged(both, lengths)
    (outputs,) = _run(list(layers), sequences, lengths, None, False)
    return outputs


def _by_keras(layer: keras.layers.RNN, sequences: tf.Tensor, state: Sequence[tf.Tensor] | None) -> tf.Tensor:
    found = layer(sequences, initial_state=None if state is None else list(state), training=False)
    return found[0] if layer.return_state else found


def _run(
    layers: list[keras.layers.RNN],
    sequences: tf.Tensor,
    lengths: tf.Tensor,
    state: Sequence[tf.Tensor] | None,
    wants_memory: bool,
) -> tuple[tf.Tensor, ...]:
    """Return the outputs of one layer, and if wanted its c; or the outputs of two layers as `run_both` does.

    The functions of the graph that is made here are read by `models.kernels.exchange`.
    """
    cell = cell_of(layers[0])
    kernels = cell.kernels
    if kernels is None:
        raise ValueError(f"{layers[0].name}: its cell has no portable kernels")
    mode = kernels.cudnn_mode(layers[0].cell)
    is_stacked = _has_block(layers[0])
    weights_of = stacked_weights if is_stacked else _weights
    arguments = [sequences, lengths, list(state or ()), [weights_of(layer) for layer in layers]]

    def unstacked(weights: Weights) -> Weights:
        if not is_stacked:
            return weights
        both, bias = weights
        return both[: -layers[0].units], both[-layers[0].units :], bias

    def each(run_one: Callable[..., tuple[tf.Tensor, ...]]) -> Callable[..., tuple[tf.Tensor, ...]]:
        def run_all(*flat: tf.Tensor) -> tuple[tf.Tensor, ...]:
            x, until, start, weights = tf.nest.pack_sequence_as(arguments, flat)
            for value in start:
                value.set_shape([None, layers[0].units])
            start = start or [tf.zeros([tf.size(until), layers[0].units])] * cell.states
            found = run_one(layers[0].cell, x, until, start, weights[0])
            if len(layers) == 1:
                return found
            behind = run_one(layers[1].cell, reverse(x, until), until, start, weights[1])
            return (_merged([found[0], behind[0]], until),)

        return run_all

    def loop(
        cell: Any, x: tf.Tensor, until: tf.Tensor, start: list[tf.Tensor], weights: Weights
    ) -> tuple[tf.Tensor, ...]:
        return run_loop(kernels, cell, x, until, start, unstacked(weights), wants_memory)

    def block(
        _: Any, x: tf.Tensor, until: tf.Tensor, start: list[tf.Tensor], weights: Weights
    ) -> tuple[tf.Tensor, ...]:
        return run_block(x, until, start, weights, wants_memory)

    def cudnn(
        _: Any, x: tf.Tensor, until: tf.Tensor, start: list[tf.Tensor], weights: Weights
    ) -> tuple[tf.Tensor, ...]:
        assert kernels.cudnn_parameters is not None
        parameters = kernels.cudnn_parameters(unstacked(weights))
        return run_cudnn(mode, x, until, start, parameters, wants_memory)

    def on_cpu(*flat: tf.Tensor) -> Any:
        if not is_stacked:  # BlockLSTMV2 does not compute this cell
            return each(loop)(*flat)
        sequences, rows = flat[0], tf.size(flat[1])
        fits = tf.size(sequences) <= blocks.LARGEST_BLOCK // layers[0].units * sequences.shape[2]
        return either(fits & (rows <= blocks.block_rows(layers[0].units)), each(block), each(loop), flat)

    flat = [tf.convert_to_tensor(value) for value in tf.nest.flatten(arguments)]
    found = on_cpu(*flat) if mode is None else for_each_device(on_cpu, each(cudnn), flat)
    outputs, *memory = found
    outputs.set_shape([*sequences.shape[:2], len(layers) * layers[0].units])
    for value in memory:
        value.set_shape([sequences.shape[0], layers[0].units])
    return outputs, *memory


def _merged(both: list[tf.Tensor], lengths: tf.Tensor) -> tf.Tensor:
    """Return the outputs of two directions; those of the second one are reversed."""
    return tf.concat([both[0], reverse(both[1], lengths)], axis=-1)


def _has_block(layer: keras.layers.RNN) -> bool:
    kernels = cell_of(layer).kernels
    return kernels is not None and kernels.has_block and kernels.cudnn_mode(layer.cell) is not None


def _weights(layer: keras.layers.RNN) -> Weights:
    cell = layer.cell
    return (cell.kernel, cell.recurrent_kernel, *((cell.bias,) if cell.use_bias else ()))
