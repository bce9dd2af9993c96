"""Training batches that have texts without labels beside their examples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.batching import Batch, Batches, epoch_batches
from data.encoding import Sequences

PREFIX = "unlabelled_"
"""Begins the names of the arrays of texts without labels: `ids` int32 [B, T], `lengths` int32 [B]."""


class JoinedRows(NamedTuple):
    """The entry of a training step with texts without labels."""

    entry: Any
    """Of the labelled examples."""
    texts: np.ndarray
    """int64 [B], indices of the texts without labels."""


class JoinedBatches:
    """Training batches, each with a batch of texts without labels.

    These follow each other over the whole training, in passes over all texts that have an order of their own:
    a pass may take several epochs, or a part of one.
    """

    def __init__(self, batches: Batches, texts: Sequences, *, batch_size: int) -> None:
        """Initialize.

        Args:
            batches: of labelled examples, as many in each epoch.
            texts: without labels, at least one.
            batch_size: most texts without labels of a step.
        """
        self._batches, self._texts, self._batch_size = batches, texts, batch_size

    def epoch(self, seed: int, epoch: int) -> list[JoinedRows]:
        """Return the examples and the texts without labels of each step."""
        entries = self._batches.epoch(seed, epoch)
        size = len(self._pass(seed, 0))
        begun, skipped = divmod(epoch * len(entries), size)
        following = itertools.chain.from_iterable(self._pass(seed, n) for n in itertools.count(begun))
        return list(map(JoinedRows, entries, itertools.islice(following, skipped, None)))

    def _pass(self, seed: int, number: int) -> list[np.ndarray]:
        """Return the indices of each batch of one pass over the texts; passes are numbered from 0."""
        return epoch_batches(self._texts.lengths, batch_size=self._batch_size, seed=seed, epoch=number)

    def whole(self) -> Sequence[Any]:
        """Return the entries of one pass over the labelled examples, without other texts."""
        return self._batches.whole()

    def batch(self, entry: Any) -> Batch:
        """Return a batch of labelled examples, in training with the arrays of texts without labels."""
        if not isinstance(entry, JoinedRows):
            return self._batches.batch(entry)
        batch = self._batches.batch(entry.entry)
        ids, lengths = self._texts.batch(entry.texts)
        arrays = {**batch.arrays, PREFIX + "ids": ids, PREFIX + "lengths": lengths}
        return Batch(arrays, batch.rows, batch.tokens)
