"""Recurrent layers over padded batches: the hidden state as memory, in one direction or both.

No Keras mask is used. Rows are right-padded, so the forward direction cannot see padding before a real
step, and the backward direction reads each row reversed within its own length. Real steps therefore never
depend on padding, rows of any length ≥ 1 are safe on cuDNN, and the masks' cost is saved.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.kernels import portable
from models.layers.cells import get_cell
from models.settings import BidirectionalSettings, RecurrentSettings


def merge(forward: tf.Tensor, backward: tf.Tensor, mode: str) -> tf.Tensor:
    """Joins the two directions, as `keras.layers.Bidirectional` names it.

    Both [..., U]; the result is [..., 2U] for `concat`, else [..., U].
    `merge([2.], [4.], "ave") -> [3.]`
    """
    if mode == "concat":
        return tf.concat([forward, backward], axis=-1)
    if mode == "sum":
        return forward + backward
    if mode == "mul":
        return forward * backward
    if mode == "ave":
        return (forward + backward) / 2
    raise ValueError(f"merge_mode is one of concat, sum, mul, ave; got {mode!r}")


def reverse(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Reverses each row within its length; padding stays where it is.

    `reverse([[[1], [2], [0]]], [2]) -> [[[2], [1], [0]]]`
    """
    return tf.reverse_sequence(sequences, lengths, seq_axis=1, batch_axis=0)


def last_step(sequences: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """The last real step of each row: [B, T, D], lengths [B] (≥ 1) → [B, D]."""
    return tf.gather(sequences, lengths - 1, axis=1, batch_dims=1)


def recurrent_layer(settings: RecurrentSettings, **options: Any) -> keras.layers.RNN:
    """Create one recurrent layer that returns its outputs at every step.

    Args:
        settings: of the stack that the layer is part of.
        options: of the Keras layer, in addition to those of the settings or instead of them.
    """
    arguments = {
        "units": settings.units,
        "activation": settings.activation,
        "recurrent_dropout": settings.recurrent_dropout,
        "return_sequences": True,
    }
    return get_cell(settings.cell).layer(**{**arguments, **options})


@keras.saving.register_keras_serializable("textrnn")
class RecurrentStack(keras.layers.Layer):
    """Recurrent layers on top of each other, weights shared over time.

    The layers are Keras's own (`SimpleRNN`, `GRU`, `LSTM`; Elman 1990, Cho et al. 2014, Hochreiter and
    Schmidhuber 1997), a second one a layer for the backward direction (Schuster and Paliwal 1997).
    """

    def __init__(self, settings: BidirectionalSettings, **options: Any) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters; with 0 layers the input passes through.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.settings = settings = BidirectionalSettings.of(settings)

        def direction(name: str) -> keras.layers.RNN:
            return recurrent_layer(settings, name=name)

        layers = range(settings.layers)
        self.forward = [direction(f"forward_{i}") for i in layers]
        self.backward = [direction(f"backward_{i}") for i in layers] if settings.bidirectional else []
        self.between = [keras.layers.Dropout(settings.dropout, name=f"between_{i}") for i in layers[1:]]
        is_double = settings.bidirectional and settings.merge_mode == "concat"
        self.output_size = (2 if is_double else 1) * settings.units if settings.layers else None
        self.portable = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights: input_shape (B, T, D)."""
        shape = tuple(input_shape)
        for i, forward in enumerate(self.forward):
            forward.build(shape)
            if self.backward:
                self.backward[i].build(shape)
            shape = (*shape[:-1], self.output_size)

    def make_portable(self) -> None:
        """From now on inference runs the kernels of `models.kernels.portable`, whichever host runs its graph.

        Weights are not to be changed any more.
        """
        self.portable = True
        for layer in (*self.forward, *self.backward):
            portable.prepare(layer)

    def cudnn_layers(self) -> int:
        """How many layers, each direction one, a host with a GPU runs on cuDNN once the stack is portable."""
        return sum(portable.has_cudnn_kernel(layer) for layer in (*self.forward, *self.backward))

    def call(
        self,
        sequences: tf.Tensor,
        lengths: tf.Tensor,
        training: bool = False,
        differentiable: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs the layers.

        Args:
            sequences: float [B, T, D], right-padded.
            lengths: int32 [B], each from 1 to T.
            training: whether dropout is on.
            differentiable: whether gradients will be asked for although it is not training: portable
                kernels have none.

        Returns:
            the top layer's output at every step [B, T, D'] (meaningless beyond a row's length) and its
            final output [B, D']: the forward direction's at the last real step, joined with the
            backward direction's at the first.
        """
        final = last_step(sequences, lengths)
        is_portable = self.portable and not (training or differentiable)
        for i, forward in enumerate(self.forward):
            if i:
                sequences = self.between[i - 1](sequences, training=training)
            if not self.backward:
                sequences = (
                    portable.run(forward, sequences, lengths)[0]
                    if is_portable
                    else forward(sequences, training=training)
                )
                final = last_step(sequences, lengths)
                continue
            both, inputs = (forward, self.backward[i]), (sequences, reverse(sequences, lengths))
            ahead, behind = (
                portable.run_both(both, inputs, lengths)
                if is_portable
                else (layer(x, training=training) for layer, x in zip(both, inputs, strict=True))
            )
            final = merge(last_step(ahead, lengths), last_step(behind, lengths), self.settings.merge_mode)
            sequences = merge(ahead, reverse(behind, lengths), self.settings.merge_mode)
        return sequences, final

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "settings": self.settings.model_dump()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RecurrentStack:
        """Create a layer from what `get_config` returned."""
        return cls(**{**config, "settings": BidirectionalSettings(**config["settings"])})
