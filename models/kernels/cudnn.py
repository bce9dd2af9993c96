"""Recurrent layers on cuDNN."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def run_cudnn(
    mode: str | None,
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    state: list[tf.Tensor],
    parameters: tf.Tensor,
    wants_memory: bool,
) -> tuple[tf.Tensor, ...]:
    """Run a cell that cuDNN has. Every length must be at least 1."""
    found = tf.raw_ops.CudnnRNNV3(
        input=inputs,
        input_h=state[0][:, tf.newaxis],
        input_c=state[1][:, tf.newaxis] if len(state) == 2 else tf.zeros([], inputs.dtype),
        params=parameters,
        sequence_lengths=lengths,
        rnn_mode=mode,
        is_training=False,
        time_major=False,
    )
    return (found.output, found.output_c[:, 0]) if wants_memory else (found.output,)


def flat_parameters(matrices: list[tf.Tensor], biases: list[tf.Tensor]) -> tf.Tensor:
    """Return one vector of all matrices, each transposed, followed by all biases."""
    parts = [tf.transpose(matrix) for matrix in matrices] + biases
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)


def has_default_gates(cell: Any) -> bool:
    """Return whether a gated cell has a bias and the activations that cuDNN computes."""
    return bool(
        cell.use_bias
        and cell.activation is keras.activations.tanh
        and cell.recurrent_activation is keras.activations.sigmoid
    )
