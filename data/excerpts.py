"""Datasets of which one split is cut to a few examples, for what need not see all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from data.batching import row_costs
from data.dataset import Dataset
from data.formats import CONTINUES


@dataclass(frozen=True)
class Excerpt(Dataset):
    """A dataset whose split `excerpted` has the examples that are held in memory."""

    excerpted: str = ""
    examples: Mapping[str, np.ndarray] = field(default_factory=dict)
    """As `Dataset.batches` yields them."""

    def batches(self, split: str, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """Yield batches of examples, as of `Dataset.batches`."""
        if split != self.excerpted:
            yield from super().batches(split, size)
            return
        for start in range(0, self.sizes[split], size):
            yield {name: values[start : start + size] for name, values in self.examples.items()}


def evenly(examples: int, most: int) -> np.ndarray:
    """Return the indices of at most so many examples, evenly spaced: int64."""
    return np.unique(np.linspace(0, max(examples - 1, 0), min(examples, most)).astype(np.int64))


def excerpt(dataset: Dataset, split: str, *, most: int, largest: int) -> Dataset:
    """Return a dataset with fewer examples of a split; the same one if it has few.

    They are spread evenly over the split, which may be sorted by label. Of documents in pieces they are the
    first pieces, which belong together.

    Args:
        dataset: any.
        split: of the dataset.
        most: number of examples.
        largest: most bytes of all of them, see `data.batching.row_costs`; one example may have more.
    """
    total = dataset.size(split)
    if not total:
        return dataset
    in_pieces = CONTINUES in dataset.columns
    chosen = np.arange(min(most, total)) if in_pieces else evenly(total, most)
    parts: list[dict[str, np.ndarray]] = []
    start = 0
    for batch in dataset.batches(split):
        end = start + len(next(iter(batch.values())))
        own = chosen[(chosen >= start) & (chosen < end)] - start
        if len(own):
            parts.append({name: values[own] for name, values in batch.items()})
        start = end
        if start > chosen[-1]:
            break
    examples: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    costs = row_costs(examples)
    if costs.sum() > largest:
        if in_pieces:
            kept = np.arange(max(int((np.cumsum(costs) <= largest).sum()), 1))
        else:
            kept = evenly(len(chosen), max(int(largest / costs.mean()), 1))
        examples = {name: values[kept] for name, values in examples.items()}
    size = len(next(iter(examples.values())))
    if size == total:
        return dataset
    same = {own.name: getattr(dataset, own.name) for own in fields(Dataset)}
    same["sizes"] = {**dataset.sizes, split: size}
    same["hash"] = f"{dataset.hash}-{split}-{size}"
    return Excerpt(**same, excerpted=split, examples=examples)
