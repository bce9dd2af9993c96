"""The layers of a `RecurrentStack`, one direction at a time."""

from __future__ import annotations

import tensorflow as tf

from app.tasks.inspection import TOKENS, Unrolled
from models.layers.recurrent import RecurrentStack


def unrolled(
    stack: RecurrentStack, sequences: tf.Tensor, lengths: tf.Tensor, name: str = TOKENS
) -> list[Unrolled]:
    """Return the layers of a stack with what they read, the lowest first, forward before backward.

    Args:
        stack: the layers.
        sequences: float32 [B, T, D], right-padded.
        lengths: int32 [B].
        name: of the sequence.
    """
    found = []
    for i, inputs in enumerate(stack.layer_inputs(sequences, lengths)):
        for layer in (stack.forward[i], *stack.backward[i : i + 1]):
            backward = layer is not stack.forward[i]
            found.append(Unrolled(f"{stack.name}/{layer.name}", layer, inputs, lengths, backward, name))
    return found
