"""Batches of examples of similar length, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

POOL_BATCHES = 50
"""Number of batches in a pool. Examples are shuffled, then sorted by length within each pool, so that batches
have little padding and still differ between epochs."""
LARGEST_STEP = 2**16
"""Tokens of a training step, padding included. A batch whose examples would be padded to more has fewer rows;
evaluation, which keeps no values for gradients, takes twice as many rows and tokens."""


AHEAD = 2
"""Number of batches that are made while a step runs."""

Row = TypeVar("Row")
Made = TypeVar("Made")


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

    def __init__(self, lengths: np.ndarray, make: Callable[[Any], Batch], *, batch_size: int) -> None:
        """Initialize.

        Args:
            lengths: int [examples], the length by which an example is sorted.
            make: returns the batch of example indices int64 [B].
            batch_size: most examples of a training step; evaluation uses twice as many.
        """
        self.lengths = lengths
        self.batch = make
        self.batch_size = batch_size

    def epoch(self, seed: int, epoch: int) -> list[Any]:
        """Return the example indices of each step: shuffled, then sorted by length within pools."""
        return epoch_batches(self.lengths, batch_size=self.batch_size, seed=seed, epoch=epoch)

    def whole(self) -> list[np.ndarray]:
        """Return the example indices of each batch, the shortest examples first."""
        return sorted_batches(self.lengths, batch_size=2 * self.batch_size, largest=2 * LARGEST_STEP)


class SeededRows(NamedTuple):
    """The entry of a training step whose examples are changed at random."""

    indices: np.ndarray
    """int64 [B], of the examples."""
    seed: tuple[int, ...]
    """Of the random numbers, with which the position of an example is joined."""


class ChangingBatches(ExampleBatches):
    """`ExampleBatches` whose examples differ between epochs, as a function of the seed and the epoch alone.

    `make` gets `SeededRows` in training, and indices as there in evaluation.
    """

    def epoch(self, seed: int, epoch: int) -> list[Any]:
        """Return the examples of each step and the seed of their changes."""
        return [SeededRows(indices, (seed, epoch)) for indices in super().epoch(seed, epoch)]


def epoch_batches(
    lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int, largest: int = LARGEST_STEP
) -> list[np.ndarray]:
    """Return the batches of an epoch, each an array of example indices; every example is in exactly one.

    Examples of which `batch_size` would be padded to more than `largest` make batches of their own, with
    fewer rows. The number of batches is the same in each epoch.

    Args:
        lengths: int [examples], length of each example.
        batch_size: most examples of a batch.
        seed: of the run.
        epoch: from 0.
        largest: most rows × longest length of a batch of several examples.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    is_long = lengths[order] > largest // batch_size
    usual, long = order[~is_long], order[is_long]
    del order, is_long  # with many examples they are large
    pool = batch_size * POOL_BATCHES
    for start in range(0, len(usual), pool):
        usual[start : start + pool] = _ascending(usual[start : start + pool], lengths)
    batches = [usual[start : start + batch_size] for start in range(0, len(usual), batch_size)]
    batches += _fitting(_ascending(long, lengths), lengths, batch_size, largest)
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, *, batch_size: int, largest: int = LARGEST_STEP) -> list[np.ndarray]:
    """Return batches of all example indices, the shortest first, for evaluation and prediction.

    `sorted_batches([9, 1, 2, 1], batch_size=3, largest=6) -> [[1, 3, 2], [0]]`

    Args:
        lengths: int [examples], length or cost of each example.
        batch_size: most examples of a batch.
        largest: most rows × longest length of a batch of several examples.
    """
    return _fitting(_ascending(np.arange(len(lengths)), lengths), lengths, batch_size, largest)


def part_of(entry: Any, number: int, parts: int) -> Any:
    """Return one of equal parts of the rows of an entry, which differ by a row at most.

    `part_of(np.array([7, 8, 9]), 1, 2) -> [8, 9]`

    Args:
        entry: of `Batches`: an array with an element for each row, or a tuple with names of such arrays.
        number: of the part, from 0.
        parts: number of parts.
    """
    if isinstance(entry, np.ndarray):
        return entry[slice(*part_bounds(len(entry), number, parts))]
    if isinstance(entry, tuple) and hasattr(entry, "_fields"):
        return type(entry)(*(part_of(value, number, parts) for value in entry))
    return entry


def part_bounds(rows: int, number: int, parts: int) -> tuple[int, int]:
    """Return the first row of a part of some rows, and the first one after it, as of `part_of`."""
    return rows * number // parts, rows * (number + 1) // parts


def made_ahead(
    make: Callable[[Any], Made], entries: Iterable[Any], *, ahead: int = AHEAD, threads: int = 1
) -> Generator[Made, None, None]:
    """Yield `make(entry)` for each entry, in order, made in threads while the caller uses those before it.

    An error of `make` is raised where its value would be yielded. The threads end with the generator, also if
    that is closed before its end; a call of `make` that has begun is waited for.

    Args:
        make: called in the threads; with one thread for one entry at a time, in order.
        entries: read by the caller's thread, no further than `ahead` entries ahead.
        ahead: number of values that are made or being made while the caller uses one.
        threads: number of threads.
    """
    remaining = iter(entries)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        futures = deque(pool.submit(make, entry) for entry in itertools.islice(remaining, ahead + 1))
        try:
            while futures:
                yield futures.popleft().result()
                futures.extend(pool.submit(make, entry) for entry in itertools.islice(remaining, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def row_costs(inputs: Mapping[str, Sequence[Any] | np.ndarray]) -> np.ndarray:
    """Return what each row costs: int64 [rows].

    A string costs its bytes and one more, a sequence the sum of its elements, padding included: a text costs
    as much as its tokens. A token id costs 1, other numbers nothing. As each token has at least a byte,
    rows × highest cost is never less than the tokens of a batch, padding included.

    `row_costs({"tokens": [[b"New", b"York"], [b"Rome", b""]]}) -> [9, 6]`

    Args:
        inputs: by name, each with a value for each row, at least one input. Arrays of strings hold bytes.
    """
    first, *others = map(_costs, inputs.values())
    costs: np.ndarray = sum(others, start=first)
    return costs


def bounded(
    rows: Iterable[Row], cost: Callable[[Row], int], *, most: int = 2**31, largest: int
) -> Iterator[list[Row]]:
    """Yield consecutive rows together, in order, as long as their padded size is bounded.

    `list(bounded([1, 2, 9, 1], int, largest=6)) -> [[1, 2], [9], [1]]`

    Args:
        rows: any.
        cost: of a row.
        most: most rows of a list.
        largest: most rows × highest cost of a list of several rows.
    """
    found: list[Row] = []
    highest = 0
    for row in rows:
        highest = max(highest, cost(row))
        if found and (len(found) == most or (len(found) + 1) * highest > largest):
            yield found
            found, highest = [], cost(row)
        found.append(row)
    if found:
        yield found


def _costs(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return the cost of each row of one input: int64 [rows]."""
    if isinstance(values, np.ndarray) and (values.dtype != object or values.ndim > 1):
        elements = int(np.prod(values.shape[1:]))
        if values.dtype != object or not values.size:
            return np.full(len(values), elements if values.dtype.kind in "iuO" else 0, np.int64)
        sizes = np.fromiter(map(len, values.ravel()), np.int64, values.size)
        costs: np.ndarray = sizes.reshape(len(values), -1).sum(axis=1) + elements
        return costs
    return np.fromiter(map(_cost, values), np.int64, len(values))


def _cost(value: Any) -> int:
    if isinstance(value, bytes):
        return len(value) + 1
    if isinstance(value, str):
        return len(value.encode(errors="replace")) + 1
    if isinstance(value, np.ndarray):
        return int(_costs(value[np.newaxis])[0])
    return sum(map(_cost, value)) if isinstance(value, Sequence) else int(isinstance(value, int | np.integer))


def _ascending(indices: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return indices[np.argsort(lengths[indices], kind="stable")]


def _fitting(order: np.ndarray, lengths: np.ndarray, batch_size: int, largest: int) -> list[np.ndarray]:
    """Divide indices, the shortest first, into batches of at most `batch_size` rows and `largest` in cost."""
    batches, start = [], 0
    while start < len(order):
        rows = order[start : start + batch_size]
        padded = lengths[rows].astype(np.int64) * np.arange(1, len(rows) + 1)
        fitting = rows[: max(int(np.searchsorted(padded, largest, side="right")), 1)]
        batches.append(fitting)
        start += len(fitting)
    return batches


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
