"""Long texts in windows, side by side in streams: what truncated back-propagation through time reads.

Each stream reads one document after the other, a window a step, so that the hidden state can be carried
from a window to the next one of the same document (Williams and Peng 1990). A document that is longer
than a stream's share is cut, and its pieces are read side by side.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from data.batching import POOL_BATCHES, Batch
from data.encoding import Sequences

EVALUATION_STREAMS = 16


class Windows(NamedTuple):
    """What each stream reads in a step: arrays [streams]."""

    start: np.ndarray
    """int64: the place of the first token to predict in the split."""
    length: np.ndarray
    """int64: tokens; 0 for a stream that has nothing more to read."""
    first: np.ndarray
    """bool: whether the window begins a document, behind its start token."""
    fresh: np.ndarray
    """bool: whether nothing is carried into the window."""
    counted: np.ndarray
    """bool: whether the tokens count, or are read for the state alone."""
    document: np.ndarray
    """int64: the number of its document."""


class _Piece(NamedTuple):
    start: int
    end: int
    first: bool
    context: int
    """Tokens before `start` that are read, but do not count."""
    document: int


def documents(counts: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """The places where documents begin and the last one ends.

    Args:
        counts: int64 [rows], tokens of each row.
        continues: bool [rows], whether a row goes on with the document of the row before.

    Returns:
        int64 [documents + 1]. `documents([3, 2, 4], [False, True, False]) -> [0, 5, 9]`
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    begins = np.flatnonzero(~continues)
    begins = begins if len(begins) and begins[0] == 0 else np.concatenate([[0], begins])
    ends: np.ndarray = np.concatenate([starts[begins], starts[-1:]])
    return ends


class StreamFeed:
    """A `Feed` of windows of documents."""

    def __init__(
        self,
        tokens: Sequences,
        bounds: np.ndarray,
        *,
        streams: int,
        window: int,
        start_id: int,
        labels: np.ndarray | None = None,
        cut: bool = True,
    ) -> None:
        """Says what is fed.

        Args:
            tokens: of the split.
            bounds: of its documents, as `documents` gives.
            streams: read side by side in training.
            window: tokens of a step.
            start_id: the token that is read before the first one of a document.
            labels: int32 [documents], fed beside their tokens.
            cut: whether documents that are longer than a stream's share are cut; if not, each is read
                from its start to its end by one stream.
        """
        self.tokens = tokens
        self.bounds = bounds
        self.window = window
        self.start_id = start_id
        self.labels = labels
        self.cut = cut
        self.streams = streams

    def epoch(self, seed: int, epoch: int) -> list[Windows]:
        """Documents in random order, those of like length together, cut at other places in each epoch."""
        random = np.random.default_rng([seed, epoch])
        pieces = self._pieces(self.streams, offset=int(random.integers(self.window)), context=0)
        order = random.permutation(len(pieces))
        pool = self.streams * POOL_BATCHES
        lengths = np.array([piece.end - piece.start for piece in pieces])
        pools = [order[i : i + pool] for i in range(0, len(order), pool)]
        order = np.concatenate([own[np.argsort(lengths[own], kind="stable")] for own in pools])
        return self._windows([pieces[i] for i in order], self.streams)

    def whole(self) -> list[Windows]:
        """Every token once, the longest documents first.

        Where a document is cut, a window before the cut is read too, so that the state knows its past.
        """
        pieces = self._pieces(EVALUATION_STREAMS, offset=0, context=self.window)
        pieces.sort(key=lambda piece: piece.start - piece.end)
        return self._windows(pieces, min(EVALUATION_STREAMS, max(len(pieces), 1)))

    def batch(self, windows: Windows) -> Batch:
        """Arrays `inputs` and `targets` int32 [S, T], `lengths` int32 [S], `fresh`, `counted` bool [S]."""
        steps = max(int(windows.length.max()), 1)
        inputs = np.zeros((len(windows.start), steps), np.int32)
        targets = np.zeros_like(inputs)
        for row in np.flatnonzero(windows.length):
            start, length = int(windows.start[row]), int(windows.length[row])
            read = self.tokens.span(start - (not windows.first[row]), start + length)
            targets[row, :length] = read[-length:]
            inputs[row, 0] = self.start_id if windows.first[row] else read[0]
            inputs[row, 1:length] = read[-length:-1]
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
        share = max(-(-total // streams), self.window) if self.cut else max(total, 1)
        pieces = []
        for document, (start, end) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            begin, last = int(start), int(end)
            number = -(-(last - begin) // share)
            size = -(-(last - begin) // max(number, 1))
            cuts = (
                [begin, *range(begin + max(size - offset, 1), last, max(size, 1)), last]
                if number > 1
                else [begin, last]
            )
            for a, b in itertools.pairwise(cuts):
                if b > a:
                    first = a == begin
                    pieces.append(_Piece(a, b, first, 0 if first else min(context, a - begin), document))
        return pieces

    def _windows(self, pieces: list[_Piece], streams: int) -> list[Windows]:
        """Gives each stream the next piece whenever it has read one to its end."""
        waiting = iter(pieces)
        reading: list[tuple[_Piece, int] | None] = [None] * streams
        found: list[Windows] = []
        while True:
            columns = np.zeros((6, streams), np.int64)
            for stream in range(streams):
                if reading[stream] is None:
                    piece = next(waiting, None)
                    reading[stream] = None if piece is None else (piece, piece.start - piece.context)
                now = reading[stream]
                if now is None:
                    continue
                piece, place = now
                limit = piece.start if place < piece.start else piece.end
                end = min(place + self.window, limit)
                fresh = place == piece.start - piece.context
                first = place == self.bounds[piece.document]
                columns[:, stream] = place, end - place, first, fresh, place >= piece.start, piece.document
                reading[stream] = None if end == piece.end else (piece, end)
            if not columns[1].any():
                return found
            start, length, first_, fresh_, counted, document = columns
            found.append(
                Windows(
                    start, length, first_.astype(bool), fresh_.astype(bool), counted.astype(bool), document
                )
            )
