"""Recurrent layers over padded batches, in one direction or both.

No Keras mask is used. Rows are right-padded, so the forward direction cannot see padding before a real
step, and the backward direction gets each row reversed within its own length. Real steps therefore never
depend on padding, rows of any length ≥ 1 are safe on cuDNN, and the cost of masks is saved.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.kernels import portable
from models.kernels.runner import Runner
from models.kernels.steps import last_step
from models.layers.cells import CELLS, get_cell
from models.layers.dropout import Dropout
from models.settings import BidirectionalSettings, RecurrentSettings


def merge(forward: tf.Tensor, backward: tf.Tensor, mode: str) -> tf.Tensor:
    """Combine the two directions; the modes are named as in `keras.layers.Bidirectional`.

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


def recurrent_layer(settings: RecurrentSettings, **options: Any) -> keras.layers.RNN:
    """Create one recurrent layer that returns its outputs at every step.

    Args:
        settings: of the stack that the layer is part of.
        options: arguments of the Keras layer; they replace those of the settings.
    """
    arguments = {
        "units": settings.units,
        "activation": settings.activation,
        "recurrent_dropout": settings.recurrent_dropout,
        "return_sequences": True,
        **options,
    }
    for name in CELLS[settings.cell].fixed:
        arguments.pop(name, None)
    return get_cell(settings.cell).layer(**arguments)


@keras.saving.register_keras_serializable("textrnn")
class RecurrentStack(keras.layers.Layer):
    """A stack of recurrent layers.

    The layers are those of `models.layers.cells`. A backward direction has its own layers (Schuster and
    Paliwal 1997).
    """

    def __init__(
        self, settings: BidirectionalSettings, *, runner: Runner | None = None, **options: Any
    ) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters; with 0 layers the input passes through.
            runner: of the network that the stack is part of; None for one of its own.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.runner = runner or Runner()
        self.settings = settings = BidirectionalSettings.of(settings)

        def direction(name: str) -> keras.layers.RNN:
            return recurrent_layer(settings, name=name)

        layers = range(settings.layers)
        self.forward = [direction(f"forward_{i}") for i in layers]
        self.backward = [direction(f"backward_{i}") for i in layers] if settings.bidirectional else []
        self.between = [
            Dropout(settings.dropout, locked=settings.locked_dropout, name=f"between_{i}") for i in layers[1:]
        ]
        is_double = settings.bidirectional and settings.merge_mode == "concat"
        self.output_size = (2 if is_double else 1) * settings.units if settings.layers else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for inputs of a shape (B, T, D)."""
        shape = tuple(input_shape)
        for i, forward in enumerate(self.forward):
            forward.build(shape)
            if self.backward:
                self.backward[i].build(shape)
            shape = (*shape[:-1], self.output_size)

    def make_portable(self) -> None:
        """Let inference run the kernels of `models.kernels.portable` on whichever host runs its graph.

        The weights must not change afterwards.
        """
        self.runner.portable = True
        for layer in (*self.forward, *self.backward):
            portable.prepare(layer)

    def cudnn_layers(self) -> int:
        """Return how many layers, counting each direction, run on cuDNN on a host with a GPU."""
        return sum(portable.has_cudnn_kernel(layer) for layer in (*self.forward, *self.backward))

    def call(
        self,
        sequences: tf.Tensor,
        lengths: tf.Tensor,
        training: bool = False,
        differentiable: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the layers.

        Args:
            sequences: float [B, T, D], right-padded.
            lengths: int32 [B], each from 1 to T.
            training: whether to apply dropout.
            differentiable: whether gradients are needed outside of training: portable kernels have none.

        Returns:
            the top layer's output at every step [B, T, D'] (meaningless beyond a row's length) and its
            final output [B, D']: the forward direction's at the last real step, joined with the
            backward direction's at the first.
        """
        final = last_step(sequences, lengths)
        for i in range(len(self.forward)):
            if i:
                sequences = self.between[i - 1](sequences, training=training)
            sequences, final = self._run_layer(
                i, sequences, lengths, training=training, differentiable=differentiable
            )
        return sequences, final

    def layer_inputs(self, sequences: tf.Tensor, lengths: tf.Tensor) -> list[tf.Tensor]:
        """Return what each layer reads outside of training, the lowest first: float [B, T, D] each.

        Both directions of a layer read the same.

        Args:
            sequences: float [B, T, D], right-padded.
            lengths: int32 [B], each from 1 to T.
        """
        found = []
        for i in range(len(self.forward)):
            found.append(sequences)
            sequences, _ = self._run_layer(i, sequences, lengths, training=False, differentiable=True)
        return found

    def _run_layer(
        self, i: int, sequences: tf.Tensor, lengths: tf.Tensor, *, training: bool, differentiable: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run one layer in its directions; arguments and results are those of `call`."""
        mode = self.settings.merge_mode
        layers = (self.forward[i], self.backward[i]) if self.backward else (self.forward[i],)
        sequences, states = self.runner.run(
            layers, sequences, lengths, training=training, differentiable=differentiable
        )
        final = states[0][0]
        if self.backward:
            final = merge(final, states[1][0], mode)
            if mode != "concat":
                ahead, behind = tf.split(sequences, 2, axis=-1)
                sequences = merge(ahead, behind, mode)
        return sequences, final

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "settings": self.settings.model_dump()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RecurrentStack:
        """Create a layer from what `get_config` returned."""
        return cls(**{**config, "settings": BidirectionalSettings(**config["settings"])})
