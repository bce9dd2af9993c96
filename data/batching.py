"""Batches of rows of like length, in an order that is a pure function of seed and epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

POOL_BATCHES = 50
"""Rows are shuffled, then sorted by length within pools of so many batches: little padding, much chance."""


@dataclass(frozen=True)
class Batch:
    """What a model is fed in one step."""

    arrays: dict[str, np.ndarray]
    """By name; padded on the right."""
    rows: int
    """Rows, or streams."""
    tokens: int
    """Real ones."""


class Feed(Protocol):
    """The batches of a split, in an order that is a pure function of seed and epoch."""

    def epoch(self, seed: int, epoch: int) -> Sequence[Any]:
        """An entry for each step of an epoch, that counts from 0."""

    def whole(self) -> Sequence[Any]:
        """An entry for each batch of one pass in which every row stands once."""

    def batch(self, entry: Any) -> Batch:
        """The batch of an entry."""


class RowFeed:
    """A `Feed` of rows of like length."""

    def __init__(self, lengths: np.ndarray, make: Callable[[np.ndarray], Batch], *, batch_size: int) -> None:
        """Says what is fed.

        Args:
            lengths: int [rows], what a row costs.
            make: the batch of row indices int64 [B].
            batch_size: rows of a step of training; evaluation takes twice as many.
        """
        self.lengths = lengths
        self.batch = make
        self.batch_size = batch_size

    def epoch(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Shuffled, then sorted by length within pools."""
        return epoch_batches(self.lengths, batch_size=self.batch_size, seed=seed, epoch=epoch)

    def whole(self) -> list[np.ndarray]:
        """The shortest rows first."""
        return sorted_batches(self.lengths, batch_size=2 * self.batch_size)


def epoch_batches(lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of an epoch, each an array of row indices; every row stands in exactly one.

    Args:
        lengths: int [rows], steps of each row.
        batch_size: rows of a batch.
        seed: of the run.
        epoch: counts from 0.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool = batch_size * POOL_BATCHES
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    order = np.concatenate([rows[np.argsort(lengths[rows], kind="stable")] for rows in pools])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, *, batch_size: int) -> list[np.ndarray]:
    """All rows once, the shortest first: for evaluation and prediction, where order does not matter."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def in_order(parts: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Rows of several arrays as one array, the i-th of all at place `order[i]`.

    Rows of different widths are padded with zeros or empty strings.
    `in_order([[[1]], [[2, 3], [4, 5]]], [2, 0, 1]) -> [[2, 3], [4, 5], [1, 0]]`

    Args:
        parts: arrays [rows, ...] of one dtype and rank, at least one.
        order: int [rows of all].
    """
    shape = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    whole = np.full((len(order), *shape), b"" if parts[0].dtype == object else 0, parts[0].dtype)
    for rows, part in zip(np.split(order, np.cumsum([len(part) for part in parts[:-1]])), parts, strict=True):
        place: Any = (rows, *(slice(0, size) for size in part.shape[1:]))
        whole[place] = part
    return whole
