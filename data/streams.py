"""Long texts as windows of parallel streams, for truncated back-propagation through time.

Each stream has one document after the other, one window a step. So the hidden state can be carried from a
window to the next one of the same document (Williams and Peng 1990). A document that is longer than a
stream's share is split into pieces, which different streams process.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

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


PIECE = np.dtype([("start", "i8"), ("end", "i8"), ("context", "i8"), ("document", "i8")])
"""A document or a part of one: the positions of its first token and of the end, the number of tokens before
`start` that are processed, but do not count, and the index of the document."""


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

    def epoch(self, seed: int, epoch: int) -> Schedule:
        """Return the windows of each step of an epoch.

        Documents are in random order, with documents of similar length together. Long documents are split at
        different positions in each epoch.
        """
        random = np.random.default_rng([seed, epoch])
        pieces = self._pieces(self.streams, offset=int(random.integers(self.window)), context=0)
        order = random.permutation(len(pieces))
        pool = self.streams * POOL_BATCHES
        lengths = pieces["end"] - pieces["start"]
        for first in range(0, len(order), pool):
            own = order[first : first + pool]
            order[first : first + pool] = own[np.argsort(lengths[own], kind="stable")]
        return self._schedule(pieces[order], self.streams)

    def whole(self) -> Schedule:
        """Return windows in which every token counts once, the longest documents first.

        A piece of a document has the window before it as context, which does not count.
        """
        pieces = self._pieces(EVALUATION_STREAMS, offset=0, context=self.window)
        longest_first = np.argsort(pieces["start"] - pieces["end"], kind="stable")
        return self._schedule(pieces[longest_first], min(EVALUATION_STREAMS, max(len(pieces), 1)))

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

    def _pieces(self, streams: int, *, offset: int, context: int) -> np.ndarray:
        """Return the pieces of all documents that have tokens, in order: `PIECE` [pieces]."""
        total = int(self.bounds[-1])
        share = max(-(-total // streams), self.window) if self.split_long else max(total, 1)
        lengths = np.diff(self.bounds)
        whole = np.flatnonzero((lengths > 0) & (lengths <= share))
        pieces = np.zeros(len(whole), PIECE)
        pieces["start"], pieces["end"] = self.bounds[whole], self.bounds[whole + 1]
        pieces["document"] = whole
        parts = []
        for document in np.flatnonzero(lengths > share).tolist():
            begin, last = int(self.bounds[document]), int(self.bounds[document + 1])
            size = -(-(last - begin) // -(-(last - begin) // share))
            ends = [begin, *range(begin + max(size - offset, 1), last, size), last]
            parts += [(a, b, min(context, a - begin), document) for a, b in itertools.pairwise(ends)]
        pieces = np.concatenate([pieces, np.array(parts, PIECE)])
        ordered: np.ndarray = pieces[np.argsort(pieces["start"], kind="stable")]
        return ordered

    def _schedule(self, pieces: np.ndarray, streams: int) -> Schedule:
        """Give pieces to streams: one that has finished a piece continues with the next one."""
        contexts = -(-pieces["context"] // self.window)
        lengths = contexts - (pieces["start"] - pieces["end"]) // self.window
        begins, owners = np.zeros(len(pieces), np.int64), np.zeros(len(pieces), np.int64)
        free = [(0, stream) for stream in range(streams)]
        for piece, length in enumerate(lengths.tolist()):
            step, stream = free[0]
            begins[piece], owners[piece] = step, stream
            heapq.heapreplace(free, (step + length, stream))
        steps = int((begins + lengths).max(initial=0))
        keys = owners * (steps + 1) + begins  # so that the pieces of a stream are together, in order
        order = np.argsort(keys)
        return Schedule(
            pieces[order], keys[order], self.bounds, range(steps), steps + 1, streams, self.window
        )


@dataclass(frozen=True, eq=False)
class Schedule(Sequence[Windows]):
    """The windows of each step, which are made when they are read: in memory are the pieces alone."""

    pieces: np.ndarray
    """`PIECE` [pieces]: those of the first stream in order, those of the second one, …"""
    keys: np.ndarray
    """int64 [pieces], ascending: the number of the stream × `period`, plus the step in which it begins the
    piece."""
    bounds: np.ndarray
    """Of the documents, see `documents`."""
    steps: range
    """The steps that are in this sequence."""
    period: int
    """More than the number of the last step."""
    streams: int
    window: int

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> Windows: ...
    @overload
    def __getitem__(self, index: slice) -> Schedule: ...
    def __getitem__(self, index: int | slice) -> Windows | Schedule:
        """Return the windows of a step, or the schedule of some of the steps."""
        if isinstance(index, slice):
            return replace(self, steps=self.steps[index])
        step, starts = self.steps[index], np.arange(self.streams) * self.period
        places = np.maximum(np.searchsorted(self.keys, starts + step, side="right") - 1, 0)
        pieces, keys = self.pieces[places], self.keys[places]
        past = starts + step - keys
        before = -(-pieces["context"] // self.window)
        start = np.where(
            past < before,
            pieces["start"] - pieces["context"] + past * self.window,
            pieces["start"] + (past - before) * self.window,
        )
        end = np.minimum(start + self.window, np.where(past < before, pieces["start"], pieces["end"]))
        busy = (keys >= starts) & (past >= 0) & (start < pieces["end"])
        return Windows(
            start=np.where(busy, start, 0),
            length=np.where(busy, end - start, 0),
            first=busy & (start == self.bounds[pieces["document"]]),
            fresh=busy & (past == 0),
            counted=busy & (start >= pieces["start"]),
            document=np.where(busy, pieces["document"], 0),
        )
