"""A signature of a SavedModel: its function, and what a server needs to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Signature:
    """One function of a SavedModel."""

    function: tf.types.experimental.PolymorphicFunction
    batched: bool = False
    """Whether the rows of several requests may share a call: every input has one value per row, and each
    output row depends on its own input row alone."""
    shared: tuple[str, ...] = ()
    """Inputs of rank 1 that apply to all rows of a call, such as stop strings."""
    limited: tuple[str, ...] = ()
    """Inputs that drive the cost of a call, such as output length or beam width; a server caps them."""
    reads_sequences: bool = True
    """Whether it runs the recurrent layers over sequences, rather than step by step from a state."""
    own_cudnn_layers: int = 0
    """Recurrent layers with cuDNN kernels that only this signature runs, counted per direction."""
    follows: str | None = None
    """The signature whose outputs this one takes as inputs of the same names: `resume` follows `begin`."""


def signature(function: Callable[..., Any], *specs: tf.TensorSpec, **facts: Any) -> Signature:
    """Return the signature of a function.

    Args:
        function: takes one tensor for each spec, in that order, and returns a dictionary of tensors.
        specs: name, dtype and shape of each input.
        facts: the fields of `Signature` other than `function`.
    """
    import tensorflow as tf

    return Signature(tf.function(function, input_signature=list(specs), autograph=False), **facts)
