"""What the program must know of a recurrent cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

State = tuple[tf.Tensor, ...]
"""The tensors that a layer carries from step to step, float [N, U] each. The first one is its output."""
Weights = tuple[tf.Tensor, ...]
"""Kernel, recurrent kernel and, if the cell has one, bias."""
Step = Callable[[tf.Tensor, Sequence[tf.Tensor]], list[tf.Tensor]]


@dataclass(frozen=True)
class Kernels:
    """How `models.kernels` computes a cell whose weights are kernel, recurrent kernel and bias."""

    step: Callable[[Any, Weights], Step]
    """From cell and weights, one step of a loop; its input was already multiplied by the kernel."""
    input_bias: Callable[[tf.Tensor], tf.Tensor] = lambda bias: bias
    """The part of the bias that is added to this product."""
    cudnn_mode: Callable[[Any], str | None] = lambda cell: None
    """The name in cuDNN of a cell with these options; None: cuDNN has no such cell."""
    cudnn_parameters: Callable[[Weights], tf.Tensor] | None = None
    """The weights in the order of cuDNN."""
    has_block: bool = False
    """Whether `BlockLSTMV2` computes the cell where cuDNN has it."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell."""

    layer: type[keras.layers.RNN]
    """The Keras layer. Its `cell` runs one step, as Keras's own cells do."""
    states: int
    """Number of tensors of its state."""
    step: Callable[[Any, tf.Tensor, State], State]
    """One step of decoding, without dropout: `layer.cell`, inputs float [N, D], state → state."""
    blocks: tuple[str, ...] = ()
    """Names of what the columns of the kernel and of the recurrent kernel compute, in their order; the
    recurrent kernel is [U, blocks · U]. Empty: it has another form, and is not looked into."""
    gates: Callable[[Any, tf.Tensor, State], Mapping[str, tf.Tensor]] = lambda cell, inputs, state: {}
    """The gates of one step by name, float [N, U] from 0 to 1: arguments as of `step`."""
    kernels: Kernels | None = None
    """For portable inference; None: the Keras layer has only operations that run on every host."""
