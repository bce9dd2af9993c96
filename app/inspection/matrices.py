"""The recurrent matrices of a layer: what they do to a state with each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.layers.cells import cell_of

if TYPE_CHECKING:
    import keras


class Matrix(NamedTuple):
    """A square matrix of a recurrent kernel, that of one gate or of the candidate."""

    spectral_radius: float
    """Largest absolute eigenvalue. Of a simple recurrent layer: with less than 1 states are forgotten, with
    more than 1 gradients can explode (Pascanu et al. 2013)."""
    spectral_norm: float
    """Largest singular value: the most that a step lengthens any vector."""
    frobenius_norm: float
    """Square root of the sum of the squared weights."""


def measure_matrices(layer: keras.layers.RNN) -> dict[str, Matrix]:
    """Return the recurrent matrices of a layer by the names of `Cell.blocks`; empty if it has none."""
    kernel, blocks = getattr(layer.cell, "recurrent_kernel", None), cell_of(layer).blocks
    if kernel is None or not blocks:
        return {}
    parts = np.split(np.asarray(kernel, np.float64), len(blocks), axis=1)
    return {name: measure_matrix(part) for name, part in zip(blocks, parts, strict=True)}


def measure_matrix(matrix: np.ndarray) -> Matrix:
    """Return radius and norms of a square matrix."""
    return Matrix(
        float(np.abs(np.linalg.eigvals(matrix)).max()),
        float(np.linalg.norm(matrix, 2)),
        float(np.linalg.norm(matrix)),
    )
