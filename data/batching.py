"""Batches of examples of similar length, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

POOL_BATCHES = 50
"""Number of batches in a pool. Examples are shuffled, then sorted by length within each pool, so that batches
have little padding and still differ between epochs."""


@dataclass(frozen=True)
class Batch:
    """The input of one step of a model."""

    arrays: dict[str, np.ndarray]
    """By name; padded on the right."""
    rows: int
    """Number of rows of the arrays: examples, or streams."""
    tokens: int
    """Number of tokens without padding."""


class Batches(Protocol):
    """The batches of a split, in an order that depends only on the seed and the epoch."""

    def epoch(self, seed: int, epoch: int) -> Sequence[Any]:
        """Return an entry for each step of an epoch; epochs are numbered from 0."""

    def whole(self) -> Sequence[Any]:
        """Return an entry for each batch of one pass that has every example exactly once."""

    def batch(self, entry: Any) -> Batch:
        """Return the batch of an entry."""


class ExampleBatches:
    """`Batches` of examples of similar length."""

    def __init__(self, lengths: np.ndarray, make: Callable[[np.ndarray], Batch], *, batch_size: int) -> None:
        """Initialize.

        Args:
            lengths: int [examples], the length by which an example is sorted.
            make: returns the batch of example indices int64 [B].
            batch_size: examples of a training step; evaluation uses twice as many.
        """
        self.lengths = lengths
        self.batch = make
        self.batch_size = batch_size

    def epoch(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Return the example indices of each step: shuffled, then sorted by length within pools."""
        return epoch_batches(self.lengths, batch_size=self.batch_size, seed=seed, epoch=epoch)

    def whole(self) -> list[np.ndarray]:
        """Return the example indices of each batch, the shortest examples first."""
        return sorted_batches(self.lengths, batch_size=2 * self.batch_size)


def epoch_batches(lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch, each an array of example indices; every example is in exactly one.

    Args:
        lengths: int [examples], length of each example.
        batch_size: examples of a batch.
        seed: of the run.
        epoch: from 0.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool = batch_size * POOL_BATCHES
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    order = np.concatenate([indices[np.argsort(lengths[indices], kind="stable")] for indices in pools])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, *, batch_size: int) -> list[np.ndarray]:
    """Return batches of all example indices, the shortest first, for evaluation and prediction."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def in_order(parts: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Concatenate arrays and reorder their rows: the i-th row of all becomes row `order[i]`.

    Rows of different widths are padded with zeros or empty strings.
    `in_order([[[1]], [[2, 3], [4, 5]]], [2, 0, 1]) -> [[2, 3], [4, 5], [1, 0]]`

    Args:
        parts: at least one array [rows, ...], all of one dtype and rank.
        order: int [rows of all parts].
    """
    shape = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    whole = np.full((len(order), *shape), b"" if parts[0].dtype == object else 0, parts[0].dtype)
    for rows, part in zip(np.split(order, np.cumsum([len(part) for part in parts[:-1]])), parts, strict=True):
        place: Any = (rows, *(slice(0, size) for size in part.shape[1:]))
        whole[place] = part
    return whole
