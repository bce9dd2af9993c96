"""An LSTM in one operation, `BlockLSTMV2`, for CPUs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.cells.base import Weights

BLOCK_ROWS = 32
"""Maximum number of rows for which `BlockLSTMV2` is the faster kernel on a CPU, with 64 to 256 units."""
FEW_UNITS, ROWS_OF_FEW_UNITS = 64, 128
"""With fewer units it is the faster kernel for more rows, too: with 48 units it takes 0.7 of the time of the
loop for 128 rows of 160 steps."""
LARGEST_BLOCK = 2**21
"""Maximum of rows × steps × units: the operation keeps seven times as many numbers, 56 MiB then."""


def block_rows(units: int) -> int:
    """Return the maximum number of rows for which `BlockLSTMV2` is the faster kernel on a CPU."""
    return ROWS_OF_FEW_UNITS if units < FEW_UNITS else BLOCK_ROWS


def stacked_weights(layer: keras.layers.RNN) -> Weights:
    """Return kernel and recurrent kernel as one matrix, and the bias."""
    stacked = getattr(layer, "stacked_kernel", None)
    return (stack_kernels(layer.cell) if stacked is None else stacked, layer.cell.bias)


def stack_kernels(cell: Any) -> tf.Tensor:
    """Return kernel and recurrent kernel as one matrix [D + U, 4U]."""
    return tf.concat([cell.kernel, cell.recurrent_kernel], axis=0)


def run_block(
    inputs: tf.Tensor, lengths: tf.Tensor, state: list[tf.Tensor], weights: Weights, wants_memory: bool
) -> tuple[tf.Tensor, ...]:
    """Run an LSTM over rows that all have the same number of steps."""
    stacked_kernel, bias = weights
    hidden, memory = state
    by_step = tf.transpose(inputs, [1, 0, 2])
    no_peephole = tf.zeros([hidden.shape[1]], inputs.dtype)
    found = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.shape(by_step, tf.int64)[0],
        x=by_step,
        cs_prev=memory,
        h_prev=hidden,
        w=stacked_kernel,
        wci=no_peephole,
        wcf=no_peephole,
        wco=no_peephole,
        b=bias,
        cell_clip=0.0,
        use_peephole=False,
    )
    outputs = tf.transpose(found.h, [1, 0, 2])
    if not wants_memory:
        return (outputs,)
    rows = tf.range(tf.shape(lengths)[0])
    return outputs, tf.gather_nd(found.cs, tf.stack([lengths - 1, rows], axis=1))
