"""Batches of rows of like length, in an order that is a pure function of seed and epoch."""

from __future__ import annotations

import numpy as np

POOL_BATCHES = 50
"""Rows are shuffled, then sorted by length within pools of so many batches: little padding, much chance."""


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """How many batches an epoch has; the last one may be smaller."""
    return -(-rows // batch_size)


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
