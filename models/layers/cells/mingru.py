"""The minimal gated recurrent unit (Feng et al. 2024, "Were RNNs All We Needed?", section 3.1).

    z = σ(W_z x + b_z)
    h_t = (1 - z) h_{t-1} + z g(W_h x + b_h)

Gate and candidate depend on the input alone, not on the state. So all steps of a sequence are computed at
once, by a parallel scan in log space (Heinsen 2023; appendix B of the paper). The scan needs positive
candidates: g(x) is x + 0.5 for x ≥ 0, else σ(x).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.cells.base import Cell, State

SCAN_STEPS = 64
"""Maximum number of steps of one scan. Its rounding error in float32 grows with the sum of log (1 - z) over
all steps, so that a long sequence is computed in pieces, one after the other."""


def _candidate(x: tf.Tensor) -> tf.Tensor:
    """Return g(x)."""
    return tf.where(x >= 0, x + 0.5, tf.sigmoid(x))


def _log_candidate(x: tf.Tensor) -> tf.Tensor:
    """Return log g(x)."""
    return tf.where(x >= 0, tf.math.log(tf.nn.relu(x) + 0.5), -tf.nn.softplus(-x))


def scan(gates: tf.Tensor, candidates: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Return the hidden states of all steps by a parallel scan in log space.

    The first state is added outside of log space, so that it may be zero or negative.

    Args:
        gates: W_z x + b_z, float [B, T, U].
        candidates: W_h x + b_h, float [B, T, U].
        state: before the first step, float [B, U].

    Returns:
        float [B, T, U].
    """
    log_kept = tf.cumsum(-tf.nn.softplus(gates), axis=1)  # log of the product of all 1 - z up to a step
    log_values = _log_candidate(candidates) - tf.nn.softplus(-gates)
    log_new = log_kept + tf.math.cumulative_logsumexp(log_values - log_kept, axis=1)
    return tf.exp(log_kept) * state[:, tf.newaxis] + tf.exp(log_new)


def scan_in_pieces(gates: tf.Tensor, candidates: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Return what `scan` returns, at most `SCAN_STEPS` steps at a time."""
    units = gates.shape[2]
    steps = tf.shape(gates)[1]
    pieces = (steps + SCAN_STEPS - 1) // SCAN_STEPS
    outputs = tf.TensorArray(gates.dtype, pieces, infer_shape=False, element_shape=[None, None, units])

    def body(i: tf.Tensor, state: tf.Tensor, outputs: tf.TensorArray) -> tuple[Any, ...]:
        piece = slice(i * SCAN_STEPS, (i + 1) * SCAN_STEPS)
        found = scan(gates[:, piece], candidates[:, piece], state)
        # Steps first, since the pieces are concatenated along the first dimension.
        return i + 1, found[:, -1], outputs.write(i, tf.transpose(found, [1, 0, 2]))

    *_, outputs = tf.while_loop(
        lambda i, *_: i < pieces,
        body,
        (tf.constant(0), state, outputs),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, units]), tf.TensorShape(None)),
        maximum_iterations=pieces,
    )
    return tf.transpose(outputs.concat(), [1, 0, 2])


@keras.saving.register_keras_serializable("textrnn")
class MinGRUCell(keras.layers.Layer):
    """One step of a `MinGRU`."""

    def __init__(self, units: int, **options: Any) -> None:
        """Create the cell; `units` is the size of the hidden state."""
        super().__init__(**options)
        self.units = units
        self.state_size = units
        self.output_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for inputs of a shape (..., D)."""
        shape = (input_shape[-1], 2 * self.units)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(2 * self.units,), initializer="zeros", name="bias")
        self.built = True

    def sums(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return W_z x + b_z and W_h x + b_h: [..., D] → [..., U] each."""
        kernel, bias = (tf.cast(weight, inputs.dtype) for weight in (self.kernel, self.bias))
        gates, candidates = tf.split(tf.tensordot(inputs, kernel, 1) + bias, 2, axis=-1)
        return gates, candidates

    def call(
        self, inputs: tf.Tensor, states: Any, training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Run one step: inputs [B, D], the state [B, U] → output [B, U], the state."""
        (h,) = _step(self, inputs, (states[0] if isinstance(states, list | tuple) else states,))
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this cell again."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("textrnn")
class MinGRU(keras.layers.RNN):
    """A minimal GRU with the interface of `keras.layers.GRU`, which computes all steps at once."""

    def __init__(self, units: int, **options: Any) -> None:
        """Create the layer.

        Args:
            units: size of the hidden state.
            options: of `keras.layers.RNN`: `return_sequences`, `return_state`, `name` and `dtype`.
        """
        super().__init__(MinGRUCell(units, name="cell", dtype=options.get("dtype")), **options)

    @property
    def units(self) -> int:
        """The size of the hidden state."""
        return int(self.cell.units)

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        """Run all steps.

        Args:
            sequences: float [B, T, D].
            initial_state: float [B, U], or a list of one such tensor; None for zeros.
            mask: must be None: the layers of this package take lengths instead.
            training: without effect.

        Returns:
            outputs [B, T, U], or the last one [B, U] without `return_sequences`; with `return_state` followed
            by the state [B, U].
        """
        if mask is not None:
            raise ValueError("MinGRU takes no mask; pass right-padded sequences")
        if initial_state is None:
            state = tf.zeros([tf.shape(sequences)[0], self.units])
        else:
            state = initial_state[0] if isinstance(initial_state, list | tuple) else initial_state
        # Sums of logarithms need all digits of float32, also in mixed precision.
        gates, candidates = (tf.cast(value, tf.float32) for value in self.cell.sums(sequences))
        outputs = scan_in_pieces(gates, candidates, tf.cast(state, tf.float32))
        outputs = tf.cast(outputs, self.compute_dtype)
        found = outputs if self.return_sequences else outputs[:, -1]
        return (found, outputs[:, -1]) if self.return_state else found

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        config = super().get_config()
        config.pop("cell")
        return {**config, "units": self.units}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MinGRU:
        """Create a layer from what `get_config` returned."""
        return cls(**config)


def _gates(cell: MinGRUCell, inputs: tf.Tensor, state: State) -> dict[str, tf.Tensor]:
    return {"update": tf.sigmoid(cell.sums(inputs)[0])}


def _step(cell: MinGRUCell, inputs: tf.Tensor, state: State) -> State:
    gates, candidates = cell.sums(inputs)
    z = tf.sigmoid(gates)
    return ((1 - z) * state[0] + z * _candidate(candidates),)


CELL = Cell(MinGRU, states=1, step=_step, blocks=("update", "candidate"), gates=_gates)
