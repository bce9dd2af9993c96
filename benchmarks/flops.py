"""Arithmetic of the networks: floating-point operations of their matrix products, for one token.

A multiplication and an addition count as two. Products are nearly all of the arithmetic of a recurrent layer;
its activations, the embedding, the pooling and the optimizer are not counted. Padding is not counted either:
what a program computes for it is lost time.
"""

from __future__ import annotations

GATES = {"lstm": 4, "gru": 3, "simple": 1}
TRAINING = 3
"""Forward and backward pass against the forward pass: the backward pass has a product for the gradient of the
inputs, and one for that of the weights."""
PRODUCT_SIZE = 2048
"""Rows and columns of the matrices of the product that the machine is measured with."""


def recurrent(inputs: int, units: int, *, cell: str = "lstm", directions: int = 1) -> int:
    """Return the operations of a recurrent layer for one step of one row, forward.

    `recurrent(1, 2, cell="simple") -> 12`: two units, each with products of one input and two states.

    Args:
        inputs: width of the input.
        units: of each direction.
        cell: one of `GATES`.
        directions: 1 or 2.
    """
    return 2 * directions * GATES[cell] * units * (inputs + units)


def dense(inputs: int, outputs: int) -> int:
    """Return the operations of a dense layer for one row: `dense(3, 2) -> 12`."""
    return 2 * inputs * outputs


def product() -> int:
    """Return the operations of the product that the machine is measured with."""
    return 2 * PRODUCT_SIZE**3
