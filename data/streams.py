"""Long texts as windows of parallel streams, for truncated back-propagation through time.

Each stream has one document after the other, one window a step. So the hidden state can be carried from a
window to the next one of the same document (Williams and Peng 1990). A document that is longer than a
stream's share is split into pieces, which different streams process.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from data.batching import POOL_BATCHES, Batch
from data.encoding import Sequences

EVALUATION_STREAMS = 16


class Windows(NamedTuple):
    """The window of each stream in one step: arrays [streams]."""

    start: np.ndarray
    """int64: position of the window's first target token in the split."""
    length: np.ndarray
    """int64: number of tokens; 0 for a stream that has no more windows."""
    first: np.ndarray
    """bool: whether the window begins a document, so that its first input is the start token."""
    fresh: np.ndarray
    """bool: whether the window begins with a zero state instead of the state of the previous window."""
    counted: np.ndarray
    """bool: whether the tokens count in the loss; otherwise they are only context for the state."""
    document: np.ndarray
    """int64: index of the window's document."""


class _Piece(NamedTuple):
    start: int
    end: int
    first: bool
    context: int
    """Number of tokens before `start` that are processed, but do not count."""
    document: int


def documents(counts: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """Return the positions where documents begin, and the end of the last one.

    Args:
        counts: int64 [examples], tokens of each example.
        continues: bool [examples], whether an example continues the document of the previous one.

    Returns:
        int64 [documents + 1]. `documents([3, 2, 4], [False, True, False]) -> [0, 5, 9]`
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    begins = np.flatnonzero(~continues)
    begins = begins if len(begins) and begins[0] == 0 else np.concatenate([[0], begins])
    ends: np.ndarray = np.concatenate([starts[begins], starts[-1:]])
    return ends


class StreamBatches:
    """`Batches` of windows of documents."""

    def __init__(
        self,
        tokens: Sequences,
        bounds: np.ndarray,
        *,
        streams: int,
        window: int,
        start_id: int,
        labels: np.ndarray | None = None,
        split_long: bool = True,
    ) -> None:
        """Initialize.

        Args:
            tokens: token ids of the split.
            bounds: bounds of its documents, as returned by `documents`.
            streams: number of parallel streams in training.
            window: maximum number of tokens of a step.
            start_id: input before the first token of a document.
            labels: int32 [documents], the label of each document.
            split_long: whether documents that are longer than a stream's share are split; otherwise each
                document is processed by one stream from start to end.
        """
        self.tokens = tokens
        self.bounds = bounds
        self.window = window
        self.start_id = start_id
        self.labels = labels
        self.split_long = split_long
        self.streams = streams

    def epoch(self, seed: int, epoch: int) -> list[Windows]:
        """Return the windows of each step of an epoch.

        Documents are in random order, with documents of similar length together. Long documents are split at
        different positions in each epoch.
        """
        random = np.random.default_rng([seed, epoch])
        pieces = self._pieces(self.streams, offset=int(random.integers(self.window)), context=0)
        order = random.permutation(len(pieces))
        pool = self.streams * POOL_BATCHES
        lengths = np.array([piece.end - piece.start for piece in pieces])
        pools = [order[i : i + pool] for i in range(0, len(order), pool)]
        order = np.concatenate([own[np.argsort(lengths[own], kind="stable")] for own in pools])
        return self._windows([pieces[i] for i in order], self.streams)

    def whole(self) -> list[Windows]:
        """Return windows in which every token counts once, the longest documents first.

        A piece of a document has the window before it as context, which does not count.
        """
        pieces = self._pieces(EVALUATION_STREAMS, offset=0, context=self.window)
        pieces.sort(key=lambda piece: piece.start - piece.end)
        return self._windows(pieces, min(EVALUATION_STREAMS, max(len(pieces), 1)))

    def batch(self, windows: Windows) -> Batch:
        """Return the batch of a step.

        Its arrays are `inputs` and `targets` int32 [S, T], `lengths` int32 [S], `fresh` and `counted` bool
        [S], and `labels` int32 [S] if documents have labels.
        """
        steps = max(int(windows.length.max()), 1)
        inputs = np.zeros((len(windows.start), steps), np.int32)
        targets = np.zeros_like(inputs)
        for row in np.flatnonzero(windows.length):
            start, length = int(windows.start[row]), int(windows.length[row])
            ids = self.tokens.span(start - (not windows.first[row]), start + length)
            targets[row, :length] = ids[-length:]
            inputs[row, 0] = self.start_id if windows.first[row] else ids[0]
            inputs[row, 1:length] = ids[-length:-1]
        arrays = {
            "inputs": inputs,
            "targets": targets,
            "lengths": windows.length.astype(np.int32),
            "fresh": windows.fresh,
            "counted": windows.counted,
        }
        if self.labels is not None:
            arrays["labels"] = self.labels[windows.document]
        return Batch(arrays, len(inputs), int(windows.length.sum()))

    def _pieces(self, streams: int, *, offset: int, context: int) -> list[_Piece]:
        total = int(self.bounds[-1])
        share = max(-(-total // streams), self.window) if self.split_long else max(total, 1)
        pieces = []
        for document, (start, end) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            begin, last = int(start), int(end)
            number = -(-(last - begin) // share)
            size = -(-(last - begin) // max(number, 1))
            ends = (
                [begin, *range(begin + max(size - offset, 1), last, max(size, 1)), last]
                if number > 1
                else [begin, last]
            )
            for a, b in itertools.pairwise(ends):
                if b > a:
                    first = a == begin
                    pieces.append(_Piece(a, b, first, 0 if first else min(context, a - begin), document))
        return pieces

    def _windows(self, pieces: list[_Piece], streams: int) -> list[Windows]:
        """Return the windows of pieces; a stream that has finished a piece continues with the next one."""
        waiting = iter(pieces)
        current: list[tuple[_Piece, int] | None] = [None] * streams
        found: list[Windows] = []
        while True:
            columns = np.zeros((6, streams), np.int64)
            for stream in range(streams):
                if current[stream] is None:
                    piece = next(waiting, None)
                    current[stream] = None if piece is None else (piece, piece.start - piece.context)
                now = current[stream]
                if now is None:
                    continue
                piece, place = now
                limit = piece.start if place < piece.start else piece.end
                end = min(place + self.window, limit)
                fresh = place == piece.start - piece.context
                first = place == self.bounds[piece.document]
                columns[:, stream] = place, end - place, first, fresh, place >= piece.start, piece.document
                current[stream] = None if end == piece.end else (piece, end)
            if not columns[1].any():
                return found
            start, length, first_, fresh_, counted, document = columns
            found.append(
                Windows(
                    start, length, first_.astype(bool), fresh_.astype(bool), counted.astype(bool), document
                )
            )
