"""A signature of a SavedModel: its function, and what a server needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.bounds import Bounds

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
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    """Of the numeric inputs, by name."""


def signature(
    function: Callable[..., Any],
    *specs: tf.TensorSpec,
    bounds: Mapping[str, Bounds] | None = None,
    **facts: Any,
) -> Signature:
    """Return the signature of a function.

    The function gets values within the bounds only. Callers that go around the checks of this program, such
    as clients of TensorFlow Serving, cannot make it compute nonsense: the nearest allowed value takes the
    place of another one. An assertion would also fail the rows of other clients in the same batch.

    Args:
        function: takes one tensor for each spec, in that order, and returns a dictionary of tensors.
        specs: name, dtype and shape of each input.
        bounds: of numeric inputs by name; there may be more than the function takes.
        facts: the other fields of `Signature`.
    """
    import tensorflow as tf

    known = bounds or {}
    own = {spec.name: known[spec.name] for spec in specs if spec.name in known}

    def within(*values: tf.Tensor) -> Any:
        return function(
            *(
                own[spec.name].clamp(value) if spec.name in own else value
                for spec, value in zip(specs, values, strict=True)
            )
        )

    graph = tf.function(within if own else function, input_signature=list(specs), autograph=False)
    return Signature(graph, bounds=own, **facts)
