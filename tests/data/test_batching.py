from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batching import (
    LARGEST_STEP,
    Batch,
    ExampleBatches,
    SeededRows,
    bounded,
    epoch_batches,
    in_order,
    made_ahead,
    part_of,
    row_costs,
    sorted_batches,
)


@pytest.fixture
def lengths() -> np.ndarray:
    """Return the lengths of 20,000 examples: most are short, some are long."""
    return np.random.default_rng(0).geometric(0.02, size=20_000).clip(1, 400)


def padding(batches: list[np.ndarray], lengths: np.ndarray) -> float:
    """Return the share of padding in the batches."""
    steps = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - int(lengths.sum()) / steps


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Return whether two epochs have the same batches in the same order."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=300),
    st.integers(1, 40),
    st.integers(0, 2**31 - 1),
    st.integers(0, 100),
)
def test_every_example_is_in_one_batch(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    """An epoch has every example once; all batches except at most one are full."""
    batches = epoch_batches(np.array(lengths), batch_size=batch_size, seed=seed, epoch=epoch)

    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sum(len(rows) != batch_size for rows in batches) <= 1
    assert all(0 < len(rows) <= batch_size for rows in batches)


def test_the_batches_of_an_epoch_are_those_of_earlier_versions(lengths: np.ndarray) -> None:
    """A resumed run expects these batches: a permutation in pools, each sorted by length."""
    random = np.random.default_rng([5, 2])
    order = random.permutation(len(lengths))
    is_long = lengths[order] > LARGEST_STEP // 256
    usual, pool = order[~is_long], 50 * 256
    pools = [sorted(usual[start : start + pool], key=lengths.__getitem__) for start in (0, pool)]
    usual = np.concatenate(pools)
    expected = [usual[start : start + 256] for start in range(0, len(usual), 256)]
    long = np.array(sorted(order[is_long], key=lengths.__getitem__))
    while len(long):
        size = next(n for n in range(len(long), 0, -1) if n * lengths[long[n - 1]] <= LARGEST_STEP)
        expected.append(long[:size])
        long = long[size:]

    batches = epoch_batches(lengths, batch_size=256, seed=5, epoch=2)

    assert len(batches) > 70
    assert sum(len(rows) < 256 for rows in batches) > 1  # of long examples, and the last one
    assert equal(batches, [expected[i] for i in random.permutation(len(expected))])


def test_seed_and_epoch_decide(lengths: np.ndarray) -> None:
    """Batches depend only on seed and epoch, and differ between seeds and epochs."""
    first = epoch_batches(lengths, batch_size=32, seed=3, epoch=7)
    np.random.seed(0)
    random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist()

    again = epoch_batches(lengths, batch_size=32, seed=3, epoch=7)

    assert equal(first, again)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())
    for seed, epoch in ((3, 8), (4, 7), (7, 3)):
        assert not equal(first, epoch_batches(lengths, batch_size=32, seed=seed, epoch=epoch))


def test_lengths_are_left_alone(lengths: np.ndarray) -> None:
    """The array of lengths is not changed."""
    before = lengths.copy()

    epoch_batches(lengths, batch_size=32, seed=0, epoch=0)
    sorted_batches(lengths, batch_size=32)

    assert np.array_equal(lengths, before)


def test_little_padding(lengths: np.ndarray) -> None:
    """Batches have examples of similar length: there is less padding than after a plain shuffle."""
    plain = np.split(np.random.default_rng(1).permutation(len(lengths)), range(32, len(lengths), 32))

    assert padding(plain, lengths) > 0.6
    assert padding(epoch_batches(lengths, batch_size=32, seed=0, epoch=0), lengths) < 0.1
    assert padding(sorted_batches(lengths, batch_size=32), lengths) < 0.02


def test_long_and_short_examples_alternate(lengths: np.ndarray) -> None:
    """An epoch does not begin with the short examples: the mean lengths of its halves are similar."""
    batches = epoch_batches(lengths, batch_size=32, seed=0, epoch=0)
    half = len(batches) // 2
    means = [lengths[np.concatenate(part)].mean() for part in (batches[:half], batches[half:])]

    assert means[0] == pytest.approx(means[1], rel=0.15)


def test_neighbours_change(lengths: np.ndarray) -> None:
    """The examples of a batch differ between epochs, not only the order of the batches."""
    first, second = (
        {frozenset(rows.tolist()) for rows in epoch_batches(lengths, batch_size=32, seed=0, epoch=epoch)}
        for epoch in (0, 1)
    )

    assert len(first & second) < 5


def test_sorted_batches() -> None:
    """All examples occur once, the shortest first, those of equal length in their order."""
    batches = sorted_batches(np.array([3, 1, 2, 1, 9]), batch_size=2)

    assert [rows.tolist() for rows in batches] == [[1, 3], [2, 0], [4]]


def size(rows: np.ndarray, lengths: np.ndarray) -> int:
    """Return the padded size of a batch."""
    return len(rows) * int(lengths[rows].max())


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=120),
    st.integers(1, 20),
    st.integers(1, 300),
    st.integers(0, 100),
)
def test_batches_are_bounded_by_their_padded_size(
    lengths: list[int], batch_size: int, largest: int, epoch: int
) -> None:
    """Rows × longest is bounded unless there is one row; the number of batches is that of every epoch."""
    sizes = np.array(lengths)
    trained = epoch_batches(sizes, batch_size=batch_size, seed=3, epoch=epoch, largest=largest)
    whole = sorted_batches(sizes, batch_size=batch_size, largest=largest)

    for batches in (trained, whole):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        assert all(len(rows) == 1 or size(rows, sizes) <= largest for rows in batches)
        assert all(len(rows) <= batch_size for rows in batches)
    others = epoch_batches(sizes, batch_size=batch_size, seed=3, epoch=epoch + 1, largest=largest)
    assert len(trained) == len(others)


@pytest.mark.parametrize("tokens", [6_000, 30_000, 1_000_000])
def test_a_long_example_does_not_pad_short_ones(tokens: int) -> None:
    """One long example beside 63 short ones is a batch of its own, in training and in evaluation."""
    lengths = np.array([20] * 40 + [tokens] + [20] * 23)
    rows = example_batches(lengths, 32)

    for entries in (rows.epoch(0, 0), rows.whole()):
        assert [40] in [entry.tolist() for entry in entries]
        assert max(size(entry, lengths) for entry in entries) == max(tokens, 32 * 20)


def test_batches_of_usual_data_are_bounded_by_rows_alone(lengths: np.ndarray) -> None:
    """Examples of up to a thousand tokens have the batches that they have without a bound."""
    for batch_size in (32, 64, 96):
        options = {"batch_size": batch_size, "seed": 1, "epoch": 2}
        bare = epoch_batches(lengths, **options, largest=10**12)

        assert 96 * lengths.max() <= LARGEST_STEP
        assert equal(epoch_batches(lengths, **options), bare)


COSTS = {
    "texts": ([b"", b"abc", "été".encode()], [1, 4, 6]),
    "strings": (["", "abc", "été"], [1, 4, 6]),
    "an array of texts": (np.array([b"", b"abc"], object), [1, 4]),
    "tokens": ([[b"New", b"York"], [b"Rome"], []], [9, 5, 0]),
    "padded tokens": (np.array([[b"New", b"York"], [b"Rome", b""]], object), [9, 6]),
    "empty tokens": (np.full((2, 50_000), b"", object), [50_000, 50_000]),
    "ragged tokens": (np.array([[b"New", b"York"], [b"Rome"]], object), [9, 5]),
    "token ids": (np.zeros((2, 7), np.int32), [7, 7]),
    "numbers": (np.array([3, 4]), [1, 1]),
    "state": (np.zeros((2, 512), np.float32), [0, 0]),
}


@pytest.mark.parametrize("case", COSTS)
def test_cost_of_a_row(case: str) -> None:
    """A string costs its bytes and one more, so that rows × highest cost bounds the padded tokens."""
    values, expected = COSTS[case]

    assert row_costs({"input": values}).tolist() == expected
    assert row_costs({"input": values, "other": values}).tolist() == [2 * cost for cost in expected]


def test_rows_are_read_in_bounded_parts() -> None:
    """A long row ends a list of short ones, and begins one of few rows."""
    rows = [1, 2, 1, 50, 1, 1, 3]

    assert list(bounded(rows, int, largest=6)) == [[1, 2, 1], [50], [1, 1], [3]]
    assert list(bounded(rows, int, most=2, largest=1000)) == [[1, 2], [1, 50], [1, 1], [3]]
    assert list(bounded([], int, largest=6)) == []


def example_batches(lengths: np.ndarray, batch_size: int) -> ExampleBatches:
    """Return batches with the indices of their examples."""

    def make(indices: np.ndarray) -> Batch:
        return Batch({"rows": indices}, len(indices), int(lengths[indices].sum()))

    return ExampleBatches(lengths, make, batch_size=batch_size)


def test_training_has_the_batches_of_an_epoch(lengths: np.ndarray) -> None:
    """The entries of an epoch depend on seed and epoch, and a batch has the examples of its entry."""
    rows = example_batches(lengths, 32)

    entries = rows.epoch(3, 7)

    assert equal(entries, epoch_batches(lengths, batch_size=32, seed=3, epoch=7))
    assert not equal(entries, rows.epoch(3, 8))
    batch = rows.batch(entries[5])
    assert batch.arrays["rows"].tolist() == entries[5].tolist()
    assert (batch.rows, batch.tokens) == (32, lengths[entries[5]].sum())


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_steps_of_an_epoch(rows: int, steps: int) -> None:
    """The last batch may be smaller."""
    assert len(example_batches(np.ones(rows, np.int64), 32).epoch(0, 0)) == steps


def test_evaluation_has_every_example_once() -> None:
    """Evaluation has the shortest examples first, in batches of twice the size."""
    whole = example_batches(np.array([3, 1, 2, 1, 9, 9]), 2).whole()

    assert [entry.tolist() for entry in whole] == [[1, 3, 2, 0], [4, 5]]


def test_rows_of_several_arrays_are_put_in_order() -> None:
    """Rows are reordered and padded with zeros or empty strings, also if an array has no rows."""
    parts = [np.array([[1]]), np.zeros([0, 3], int), np.array([[2, 3], [4, 5]])]
    words = [np.array([[b"a"]], object), np.array([[b"b", b"c"]], object)]

    assert in_order(parts, np.array([2, 0, 1])).tolist() == [[2, 3, 0], [4, 5, 0], [1, 0, 0]]
    assert in_order(words, np.array([1, 0])).tolist() == [[b"b", b"c"], [b"a", b""]]
    assert in_order([np.array([1.5, 2.5]), np.array([3.5])], np.array([1, 2, 0])).tolist() == [3.5, 1.5, 2.5]


def batch_threads() -> int:
    """Return the number of threads that make batches."""
    return sum(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_values_are_made_ahead_in_order() -> None:
    """While one value is used the next ones are made, no more of them than asked for, in another thread."""
    made = []

    def make(entry: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        time.sleep(0.001 * (entry % 3))
        made.append(entry)
        return 10 * entry

    values = []
    for value in made_ahead(make, range(12), ahead=2):
        values.append(value)
        time.sleep(0.02)
        assert made == list(range(min(len(values) + 2, 12)))

    assert values == [10 * entry for entry in range(12)]
    assert not batch_threads()
    assert list(made_ahead(make, [])) == []


def test_an_error_is_raised_in_its_place() -> None:
    """Values before the error are yielded; it is raised as it was, and the thread ends."""

    def make(entry: int) -> float:
        return 1 / (3 - entry)

    values = made_ahead(make, range(9))

    assert [next(values) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(values)
    assert not batch_threads()


def test_closing_ends_the_thread() -> None:
    """No value is made after the generator is closed, nor after an interrupt."""
    made: list[int] = []
    values, others = (made_ahead(made.append, range(1000)) for _ in range(2))
    next(values)
    next(others)

    values.close()
    with pytest.raises(KeyboardInterrupt):
        others.throw(KeyboardInterrupt())

    assert not batch_threads()
    assert len(made) <= 6


def test_parts_of_an_entry() -> None:
    """The parts have every row once, whatever holds them, and what is not of rows is in each."""
    entry = SeededRows(np.arange(8), (3, 4))

    parts = [part_of(entry, number, 3) for number in range(3)]

    assert [part.indices.tolist() for part in parts] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert [part.seed for part in parts] == [(3, 4)] * 3
    assert [len(part_of(np.arange(1), number, 3)) for number in range(3)] == [0, 0, 1]
