from __future__ import annotations

import random
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.encoding import Sequences
from data.streams import StreamBatches, Windows, documents

START = 77_777
"""Id of the start token. The token at position i has the id i + 1, which identifies it."""
Made = Callable[..., StreamBatches]

lengths_of_documents = st.lists(st.integers(0, 40), min_size=1, max_size=12)
cases = {
    "lengths": lengths_of_documents,
    "streams": st.integers(1, 20),
    "window": st.integers(1, 9),
    "split_long": st.booleans(),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that makes batches of documents of given lengths; token i has the id i + 1."""
    path = tmp_path_factory.mktemp("tokens") / "ids"
    np.arange(1, 10_001, dtype=np.int32).tofile(path)

    def make(
        lengths: Sequence[int], *, streams: int, window: int, split_long: bool = True, labelled: bool = False
    ) -> StreamBatches:
        return StreamBatches(
            Sequences(path, np.dtype(np.int32), np.array(lengths)),
            np.concatenate([[0], np.cumsum(lengths)]),
            streams=streams,
            window=window,
            start_id=START,
            labels=np.arange(len(lengths), dtype=np.int32) + 100 if labelled else None,
            split_long=split_long,
        )

    return make


def read(batches: StreamBatches, entries: Sequence[Windows]) -> list[list[list[tuple[int, int, bool, bool]]]]:
    """Return the tokens of each stream in each step as (input, target, fresh, counted).

    `fresh` is only true for the first token of a window, since the state is carried within it.
    """
    streams: list[list[list[tuple[int, int, bool, bool]]]] = [[] for _ in entries[0].start] if entries else []
    for entry in entries:
        batch = batches.batch(entry)
        arrays = batch.arrays
        assert {name: value.dtype for name, value in arrays.items() if name != "labels"} == {
            **dict.fromkeys(("inputs", "targets", "lengths"), np.int32),
            **dict.fromkeys(("fresh", "counted"), np.bool_),
        }
        assert arrays["inputs"].shape == arrays["targets"].shape == (len(streams), arrays["lengths"].max())
        assert (batch.rows, batch.tokens) == (len(streams), arrays["lengths"].sum())
        for stream, length in enumerate(arrays["lengths"]):
            streams[stream].append(
                [
                    (
                        int(arrays["inputs"][stream, i]),
                        int(arrays["targets"][stream, i]),
                        bool(arrays["fresh"][stream]) and i == 0,
                        bool(arrays["counted"][stream]),
                    )
                    for i in range(length)
                ]
            )
    return streams


def counted(streams: Sequence[Sequence[Sequence[tuple[int, int, bool, bool]]]]) -> list[int]:
    """Return the targets that count."""
    return [target for stream in streams for window in stream for _, target, _, counts in window if counts]


def beginnings(lengths: Sequence[int]) -> set[int]:
    """Return the first tokens of documents."""
    return {int(end - own) + 1 for own, end in zip(lengths, np.cumsum(lengths), strict=True) if own}


# Documents


@pytest.mark.parametrize(
    ("counts", "continues", "bounds"),
    [
        ([3, 2, 4], [False, True, False], [0, 5, 9]),
        ([3, 2, 4], [False, False, False], [0, 3, 5, 9]),
        ([3, 2, 4], [False, True, True], [0, 9]),
        ([3, 2, 4], [True, True, False], [0, 5, 9]),  # a split that begins in the middle of a text
        ([3, 0, 4], [False, False, True], [0, 3, 7]),
        ([0, 3, 0], [False, False, False], [0, 0, 3, 3]),
        ([5], [False], [0, 5]),
        ([5], [True], [0, 5]),
        ([0], [False], [0, 0]),
    ],
)
def test_documents(counts: list[int], continues: list[bool], bounds: list[int]) -> None:
    """A document is an example and the examples that continue it."""
    assert documents(np.array(counts), np.array(continues)).tolist() == bounds


# Every token once


@given(**cases, seed=st.integers(0, 99), epoch=st.integers(0, 9))
@example(lengths=[1], streams=20, window=9, split_long=True, seed=0, epoch=0)
@example(lengths=[7], streams=20, window=1, split_long=True, seed=0, epoch=0)
@example(lengths=[0, 1, 0, 0, 1], streams=3, window=1, split_long=True, seed=0, epoch=0)
@settings(deadline=None, max_examples=60)
def test_an_epoch_predicts_every_token_once(
    made: Made, lengths: list[int], streams: int, window: int, split_long: bool, seed: int, epoch: int
) -> None:
    """An epoch has each token of each document as target once."""
    batches = made(lengths, streams=streams, window=window, split_long=split_long)
    if not sum(lengths):
        return
    found = read(batches, batches.epoch(seed, epoch))

    assert len(found) == streams
    assert sorted(counted(found)) == list(range(1, sum(lengths) + 1))
    assert sum(len(step) for stream in found for step in stream) == sum(lengths)
    assert all(len(step) <= window for stream in found for step in stream)


@given(**cases)
@example(lengths=[0], streams=4, window=3, split_long=True)
@settings(deadline=None, max_examples=60)
def test_the_whole_predicts_every_token_once(
    made: Made, lengths: list[int], streams: int, window: int, split_long: bool
) -> None:
    """In evaluation each token counts once; the context before a piece does not count."""
    batches = made(lengths, streams=streams, window=window, split_long=split_long)
    found = read(batches, batches.whole())

    assert sorted(counted(found)) == list(range(1, sum(lengths) + 1))


@given(**cases, whole=st.booleans())
@settings(deadline=None, max_examples=80)
def test_the_input_before_a_target(
    made: Made, lengths: list[int], streams: int, window: int, split_long: bool, whole: bool
) -> None:
    """The input is the previous token of the document, or the start token at its beginning.

    The state is carried from a token to the next one of the same document, and starts at zero elsewhere.
    """
    batches = made(lengths, streams=streams, window=window, split_long=split_long)
    first = beginnings(lengths)
    for stream in read(batches, batches.whole() if whole else batches.epoch(0, 0) if sum(lengths) else []):
        tokens = [token for step in stream for token in step]
        for given_token, target, _, _ in tokens:
            assert given_token == (START if target in first else target - 1)
        assert not tokens or tokens[0][2]
        for (_, before, _, _), (_, target, fresh, _) in pairwise(tokens):
            continued = target == before + 1 and target not in first
            if fresh:
                assert not (continued and not split_long)
            else:
                assert continued


def test_a_stream_that_has_nothing_to_read(made: Made) -> None:
    """If there are more streams than tokens, the others have windows of length 0."""
    batches = made([3], streams=8, window=2)
    batches = [batches.batch(entry).arrays for entry in batches.epoch(0, 0)]

    assert sum(int(arrays["lengths"].sum()) for arrays in batches) == 3
    assert all(len(arrays["lengths"]) == 8 for arrays in batches)
    assert all(not arrays["counted"][arrays["lengths"] == 0].any() for arrays in batches)


# Cuts


def test_long_documents_are_split(made: Made) -> None:
    """A document that is longer than a stream's share is split between several streams."""
    batches = made([1000], streams=10, window=10)
    steps = batches.epoch(0, 0)

    assert 10 <= len(steps) <= 12
    assert np.mean([np.count_nonzero(entry.length) for entry in steps]) > 8


def test_documents_that_are_not_split(made: Made) -> None:
    """Without splitting, each document is in one stream from start to end, with a carried state."""
    lengths = [50, 3, 200, 0, 1]
    batches = made(lengths, streams=4, window=10, split_long=False)

    for entries in (batches.epoch(3, 1), batches.whole()):
        fresh = [
            target
            for stream in read(batches, entries)
            for step in stream
            for _, target, is_fresh, _ in step
            if is_fresh
        ]
        assert set(fresh) == beginnings(lengths)
        assert len(fresh) == 4


def test_seed_and_epoch_decide(made: Made) -> None:
    """The order depends only on seed and epoch, and differs between seeds and epochs."""
    batches = made([30, 500, 80, 2, 60, 60, 7], streams=4, window=8)

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [entry.start.tolist() for entry in batches.epoch(seed, epoch)]

    first = order(3, 7)
    np.random.seed(0)
    random.seed(0)

    assert order(3, 7) == first
    for seed, epoch in ((3, 8), (4, 7), (7, 3)):
        assert order(seed, epoch) != first


def test_each_epoch_splits_at_other_positions(made: Made) -> None:
    """Windows begin at other positions in each epoch, so that no token is always the first of its window."""
    batches = made([4000], streams=8, window=50)
    cuts = [
        {int(start) for entry in batches.epoch(0, epoch) for start in entry.start[entry.fresh]}
        for epoch in range(4)
    ]

    assert all(len(found) >= 8 for found in cuts)
    for a, b in pairwise(cuts):
        assert a & b <= {0}


def test_context_is_read_but_not_counted(made: Made) -> None:
    """In evaluation, a piece of a document follows a window of context, which does not count."""
    batches = made([1600], streams=1, window=20)
    found = read(batches, batches.whole())

    assert len(found) == 16
    extra = Counter(target for stream in found for step in stream for _, target, _, _ in step)
    assert sorted(counted(found)) == list(range(1, 1601))
    assert sum(extra.values()) == 1600 + 15 * 20
    for stream in found:
        begin = stream[0][0][1]
        assert [counts for step in stream for *_, counts in step][:21] == (
            [True] * 21 if begin == 1 else [False] * 20 + [True]
        )


def test_context_at_the_start_of_a_document(made: Made) -> None:
    """The context of a piece does not extend beyond the start of its document."""
    batches = made([5, 33], streams=1, window=30)
    found = read(batches, batches.whole())

    (piece,) = [stream for stream in found if any(not counts for step in stream for *_, counts in step)]
    assert piece[0][0][:2] == (START, 6)
    assert [token[1] for token in piece[0]] == list(range(6, 6 + len(piece[0])))


# Labels


def test_labels_of_documents(made: Made) -> None:
    """Each window has the label of its document."""
    lengths = [4, 0, 30, 1, 9]
    batches = made(lengths, streams=3, window=4, labelled=True)
    ends = np.cumsum(lengths)
    seen = set()

    for entry in (*batches.epoch(0, 0), *batches.whole()):
        arrays = batches.batch(entry).arrays
        assert arrays["labels"].dtype == np.int32
        for row in np.flatnonzero(arrays["lengths"]):
            document = int(np.searchsorted(ends, arrays["targets"][row, 0] - 1, side="right"))
            assert arrays["labels"][row] == 100 + document
            seen.add(document)
    assert seen == {0, 2, 3, 4}


def test_no_labels(made: Made) -> None:
    """Without labels, batches have no array of labels."""
    batches = made([4], streams=1, window=4)

    assert "labels" not in batches.batch(batches.whole()[0]).arrays


# Order


def test_documents_of_similar_length_are_together(made: Made) -> None:
    """Documents of similar length are in the same steps, so that there is little padding."""
    lengths = np.random.default_rng(0).integers(1, 40, 250).tolist()
    batches = made(lengths, streams=8, window=40)
    steps = [entry.length for entry in batches.epoch(0, 0)]

    assert 1 - sum(lengths) / sum(len(entry) * int(entry.max()) for entry in steps) < 0.1


def greedy(
    pieces: list[tuple[int, int, int]], streams: int, window: int
) -> Iterator[list[tuple[int, int] | None]]:
    """Yield the window of each stream, as start and length, in each step.

    Args:
        pieces: start, end, and number of tokens of context before it.
        streams: each of which takes the next piece when it has none.
        window: longest window.
    """
    waiting = deque(pieces)
    present: list[deque[tuple[int, int]]] = [deque() for _ in range(streams)]
    while True:
        for own in present:
            if not own and waiting:
                start, end, context = waiting.popleft()
                for first, last in ((start - context, start), (start, end)):
                    own.extend((i, min(window, last - i)) for i in range(first, last, window))
        if not any(present):
            return
        yield [own.popleft() if own else None for own in present]


@given(**cases, seed=st.integers(0, 5))
def test_windows_are_those_of_earlier_versions(
    made: Made, lengths: list[int], streams: int, window: int, split_long: bool, seed: int
) -> None:
    """A resumed run expects these windows: a stream that is free gets the next piece in the epoch's order."""
    batches = made(lengths, streams=streams, window=window, split_long=split_long)
    generator = np.random.default_rng([seed, 1])
    offset = int(generator.integers(window))
    share = max(-(-sum(lengths) // streams), window) if split_long else max(sum(lengths), 1)
    pieces = []
    for start, end in pairwise([0, *np.cumsum(lengths).tolist()]):
        if (number := -(-(end - start) // share)) > 1:
            size = -(-(end - start) // number)
            cuts = [start, *range(start + max(size - offset, 1), end, size), end]
            pieces += [(a, b, 0) for a, b in pairwise(cuts)]
        elif end > start:
            pieces.append((start, end, 0))
    order = generator.permutation(len(pieces)).tolist()
    pool = 50 * streams
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    order = [i for own in pools for i in sorted(own, key=lambda i: pieces[i][1] - pieces[i][0])]
    expected = list(greedy([pieces[i] for i in order], streams, window))

    entries = batches.epoch(seed, 1)

    found = [
        [(start, length) if length else None for start, length in zip(e.start, e.length, strict=True)]
        for e in entries
    ]
    assert found == expected
    assert [e.start.tolist() for e in entries[len(found) // 2 :]] == [
        e.start.tolist() for e in list(entries)[len(found) // 2 :]
    ]


def test_memory_does_not_grow_with_a_document(made: Made) -> None:
    """The windows of an epoch are made when they are read: a text of any length needs the same memory."""

    def peak(tokens: int) -> int:
        batches = made([1], streams=8, window=16)
        batches.bounds = np.array([0, tokens])
        tracemalloc.start()
        try:
            entries = [batches.epoch(0, 0), batches.whole()]
            assert sum(int(entries[0][step].length.sum()) for step in range(3)) > 2 * 8 * 16
            assert all(len(own) > tokens // (16 * 16) for own in entries)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)
    assert peak(40_000_000) < peak(400_000) + 5000
