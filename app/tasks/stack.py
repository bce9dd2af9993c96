"""The layers of a `RecurrentStack`, one direction at a time."""

from __future__ import annotations

import tensorflow as tf

from app.tasks.inspection import Unrolled
from models.layers.recurrent import RecurrentStack


def unrolled(stack: RecurrentStack, sequences: tf.Tensor, lengths: tf.Tensor) -> list[Unrolled]:
    """Return the layers of a stack with what they read, the lowest first, forward before backward.

    Args:
        stack: the layers.
        sequences: float32 [B, T, D], right-padded.
        lengths: int32 [B].
    """
    found = []
    for i, inputs in enumerate(stack.layer_inputs(sequences, lengths)):
        found.append(Unrolled(f"{stack.name}/{stack.forward[i].name}", stack.forward[i], inputs, lengths))
        if stack.backward:
            layer = stack.backward[i]
            found.append(Unrolled(f"{stack.name}/{layer.name}", layer, inputs, lengths, backward=True))
    return found
