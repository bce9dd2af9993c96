"""The choice of the kernels that run a recurrent layer.

There are three kinds:

* the layer of Keras, for training and for whatever the others do not compute; on a GPU it runs cuDNN;
* the portable kernels of `models.kernels.portable`, for graphs that are saved and run on other hosts;
* the native operation of `models.kernels.native`, for this process on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import keras
import tensorflow as tf

from models.kernels import portable
from models.kernels.native import operation
from models.kernels.steps import last_step, reverse, reverse_in_training


class Outputs(NamedTuple):
    """What a layer computes, in one direction or both."""

    sequences: tf.Tensor
    """Outputs at every step, float [B, T, N * U] for N directions, in the order of the text. They have no
    meaning beyond a row's length."""
    states: list[tuple[tf.Tensor, ...]]
    """Of each direction the state after its last step, float [B, U] each: h, and c of an LSTM if wanted."""


class Runner:
    """Runs the recurrent layers of a network, all with the same choice of kernels."""

    def __init__(self) -> None:
        """Choose the layers of Keras."""
        self.kernels: Literal["keras", "native"] = "keras"
        """`native`: the native operation runs each layer that it supports. Graphs must not be saved."""
        self.portable = False
        """Whether inference runs the portable kernels where the native operation does not. The weights of the
        layers never change then."""

    def run(
        self,
        layers: Sequence[keras.layers.RNN],
        sequences: tf.Tensor,
        lengths: tf.Tensor | None,
        state: Sequence[tf.Tensor] | None = None,
        *,
        training: bool = False,
        differentiable: bool = False,
        wants_memory: bool = False,
        recurrent_kernel: tf.Tensor | None = None,
    ) -> Outputs:
        """Run a layer: with one Keras layer forwards, with two of them in both directions.

        Args:
            layers: one or two built layers of one class, which return sequences. The second one runs
                backwards.
            sequences: float [B, T, D], right-padded.
            lengths: int32 [B], each from 1 to T; None if each is T.
            state: before the first step, float [B, U] each, for one direction; None for zeros.
            training: whether to apply recurrent dropout.
            differentiable: whether gradients are needed outside of training: portable kernels have none.
            wants_memory: whether to return the c of an LSTM; only for one direction.
            recurrent_kernel: used in place of the layer's own, for one direction.
        """
        if self.kernels == "native" and operation.supports(layers):
            found = operation.run(
                layers,
                sequences,
                _all_steps(sequences) if lengths is None else lengths,
                [value[tf.newaxis] for value in state or ()],
                training=training,
                differentiable=training or differentiable,
                # Outside of a graph all layers of one shape share an operation, and what it has packed.
                frozen=self.portable and not tf.executing_eagerly(),
                recurrents=() if recurrent_kernel is None else [recurrent_kernel],
            )
            parts = (found.hidden,) if found.memory is None else (found.hidden, found.memory)
            return Outputs(found.sequences, list(zip(*map(tf.unstack, parts), strict=True)))
        if recurrent_kernel is not None:
            return _with_recurrent_kernel(layers[0], sequences, state, training, recurrent_kernel)
        # A layer of Keras returns the state after the last step of the batch, not of each row.
        needs_portable = wants_memory and lengths is not None
        if needs_portable or (self.portable and not (training or differentiable)):
            return _portable(layers, sequences, lengths, state, wants_memory)
        return _keras(layers, sequences, lengths, state, training)

    def step(
        self,
        layer: keras.layers.RNN,
        inputs: tf.Tensor,
        state: Sequence[tf.Tensor],
        otherwise: Callable[[keras.layers.RNN, tf.Tensor, Sequence[tf.Tensor]], tuple[tf.Tensor, ...]],
    ) -> tuple[tf.Tensor, ...]:
        """Run one step of decoding, which has no gradients and is often called in a loop.

        The native operation runs it if the weights never change. Else it would arrange them anew for each
        step, which takes as long as the step.

        Args:
            layer: a built layer.
            inputs: float [N, D].
            state: before the step, float [N, U] each.
            otherwise: does the same with operations of TensorFlow.

        Returns:
            the state after the step; its first tensor is the output.
        """
        is_final = self.portable and not tf.executing_eagerly()
        if not (self.kernels == "native" and is_final and operation.supports([layer])):
            return otherwise(layer, inputs, state)
        found = operation.run(
            [layer],
            inputs[:, tf.newaxis],
            tf.ones([tf.shape(inputs)[0]], tf.int32),
            [value[tf.newaxis] for value in state],
            differentiable=False,
            frozen=True,
        )
        return (found.hidden[0],) if found.memory is None else (found.hidden[0], found.memory[0])


def _portable(
    layers: Sequence[keras.layers.RNN],
    sequences: tf.Tensor,
    lengths: tf.Tensor | None,
    state: Sequence[tf.Tensor] | None,
    wants_memory: bool,
) -> Outputs:
    lengths = _all_steps(sequences) if lengths is None else lengths
    if len(layers) == 1:
        outputs, after = portable.run(layers[0], sequences, lengths, state, wants_state=wants_memory)
        return Outputs(outputs, [after or (last_step(outputs, lengths),)])
    ahead, behind = layers
    outputs = portable.run_both((ahead, behind), sequences, lengths)
    units = ahead.units
    return Outputs(outputs, [(last_step(outputs, lengths)[:, :units],), (outputs[:, 0, units:],)])


def _keras(
    layers: Sequence[keras.layers.RNN],
    sequences: tf.Tensor,
    lengths: tf.Tensor | None,
    state: Sequence[tf.Tensor] | None,
    training: bool,
) -> Outputs:
    start = None if state is None else list(state)
    if len(layers) == 1:
        found = layers[0](sequences, initial_state=start, training=training)
        outputs, after = (found[0], tuple(found[1:])) if layers[0].return_state else (found, ())
        if lengths is not None:
            after = (last_step(outputs, lengths),)
        return Outputs(outputs, [after])
    lengths = _all_steps(sequences) if lengths is None else lengths
    turn = reverse_in_training if training else reverse
    inputs = (sequences, turn(sequences, lengths))
    both = [layer(x, training=training) for layer, x in zip(layers, inputs, strict=True)]
    states = [(last_step(outputs, lengths),) for outputs in both]
    return Outputs(tf.concat([both[0], turn(both[1], lengths)], axis=-1), states)


def _with_recurrent_kernel(
    layer: keras.layers.RNN,
    sequences: tf.Tensor,
    state: Sequence[tf.Tensor] | None,
    training: bool,
    recurrent_kernel: tf.Tensor,
) -> Outputs:
    # The layer gets these values of its variable, whichever kernel it runs.
    mapping = [(layer.cell.recurrent_kernel, recurrent_kernel)]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        outputs = _keras([layer], sequences, None, state, training)
    for variable in layer.non_trainable_variables:  # seeds were advanced inside of the scope only
        advanced = scope.get_current_value(variable)
        if advanced is not None:
            variable.assign(advanced)
    return outputs


def _all_steps(sequences: tf.Tensor) -> tf.Tensor:
    rows, steps = tf.unstack(tf.shape(sequences)[:2])
    return tf.fill([rows], steps)
