"""The split of each example, decided when all examples are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.splits import SPLITS, Shares, Splitting, split_codes

INDEXED = np.dtype([("part", "u1"), ("labels", "u4"), ("hash", "u8")])
"""What decides the split of an example: the number of its part, that of its labels, and its text's hash."""
LEFT_OUT = len(SPLITS)
"""Code of an example that is in no split; the code of a split is its position in `SPLITS`."""
NO_LABELS = 0
"""Number of the set of labels of an example without a label."""

Index = Callable[[], Iterable[np.ndarray]]
"""Returns the blocks of an index of all examples: `INDEXED` [examples of the block]."""


@dataclass
class LabelSets:
    """Distinct labels, or sets of labels, by number."""

    numbers: dict[tuple[str, ...], int] = field(default_factory=dict)

    def number(self, labels: tuple[str, ...] | None) -> int:
        """Return the number of a set of labels; None: the example has no label."""
        if labels is None:
            return NO_LABELS
        return self.numbers.setdefault(labels, len(self.numbers) + 1)

    def members(self) -> tuple[list[str], list[list[int]]]:
        """Return the labels, and the positions of the labels of each set, by number."""
        positions: dict[str, int] = {}
        sets: list[list[int]] = [[]]
        for labels in self.numbers:
            sets.append([positions.setdefault(label, len(positions)) for label in labels])
        return list(positions), sets


@dataclass(frozen=True)
class Assignment:
    """The splits of all examples, in order."""

    codes: np.ndarray
    """Position of the split in `SPLITS`, or `LEFT_OUT`: uint8 [examples]."""
    moved: int = 0
    """Number of examples that are in train because it would have no example of their label."""
    rare: tuple[str, ...] = ()
    """Their labels."""


def assign(
    index: Index, given: Sequence[int | None], shares: Shares, splitting: Splitting, labels: LabelSets
) -> Assignment:
    """Return the splits of all examples.

    A label that would have no training example goes to train, with all copies of its texts.

    Args:
        index: of the examples.
        given: code of each part, by its number; None: the part is divided.
        shares: of the splits into which it is divided.
        splitting: how it is divided.
        labels: of the examples.
    """
    known = np.array([LEFT_OUT if code is None else code for code in given], np.uint8)
    divided = np.array([code is None for code in given], bool)
    blocks = [known[block["part"]] for block in index()]
    if divided.any():
        own = by_label if splitting.mode == "stratified" else by_hash
        for codes, block, split in zip(blocks, index(), own(index, divided, shares, labels), strict=True):
            codes[divided[block["part"]]] = split
        return _with_rare_labels(index, blocks, divided, labels)
    return Assignment(_joined(blocks))


def _joined(blocks: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([*blocks, np.zeros(0, np.uint8)])


def by_hash(index: Index, divided: np.ndarray, shares: Shares, labels: LabelSets) -> Iterator[np.ndarray]:
    """Yield the codes of the examples of the divided part, block by block."""
    for block in index():
        yield split_codes(block["hash"][divided[block["part"]]], shares)


def by_label(index: Index, divided: np.ndarray, shares: Shares, labels: LabelSets) -> Iterator[np.ndarray]:
    """Yield codes as `by_hash`, with the same share of each label in every split.

    A text with several labels counts for its rarest one, and copies of a text for the first of them.
    """
    chosen = [block[divided[block["part"]]] for block in index()]
    sizes = [len(block) for block in chosen]
    hashes = np.concatenate([np.zeros(0, "u8"), *(block["hash"] for block in chosen)])
    sets = np.concatenate([np.zeros(0, "u4"), *(block["labels"] for block in chosen)])
    del chosen
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    stratum = _rarest(sets, labels)[sets[first]]
    codes = np.full(len(first), SPLITS.index("train"), np.uint8)
    order = np.argsort(stratum, kind="stable")  # within a label the texts stay in the order of their hashes
    smaller = [(SPLITS.index(name), share) for name, share in shares if name != "train"]
    wanted, taken = dict.fromkeys(smaller, 0.0), dict.fromkeys(smaller, 0)
    starts = np.flatnonzero(np.diff(stratum[order], prepend=-1))
    for own in np.split(order, starts[1:]) if len(order) else []:
        left = own[: len(own) - 1]  # one text of each label is for training
        for split in smaller:
            # What rounding takes from one label is given to the next one.
            wanted[split] += len(own) * split[1]
            number = min(max(round(wanted[split]) - taken[split], 0), len(left))
            codes[left[:number]] = split[0]
            left = left[number:]
            taken[split] += number
    whole = codes[group]
    start = 0
    for size in sizes:
        yield whole[start : start + size]
        start += size


def _rarest(sets: np.ndarray, labels: LabelSets) -> np.ndarray:
    """Return the position of the rarest label of each set, by the number of the set: int64 [sets]."""
    names, members = labels.members()
    numbers = np.bincount(sets, minlength=len(members))
    counts = np.zeros(len(names), np.int64)
    for own, number in zip(members, numbers, strict=True):
        counts[own] += number
    return np.array(
        [min(own, key=lambda label: (counts[label], label), default=len(names)) for own in members]
    )


def _with_rare_labels(
    index: Index, blocks: list[np.ndarray], divided: np.ndarray, labels: LabelSets
) -> Assignment:
    """Move the examples of labels that have no training example to train, with all copies of their texts."""
    names, members = labels.members()
    train = SPLITS.index("train")
    numbers = np.zeros(len(members), np.int64)
    for codes, block in zip(blocks, index(), strict=True):
        numbers += np.bincount(block["labels"][codes == train], minlength=len(members))
    learned = {label for own, number in zip(members, numbers, strict=True) if number for label in own}
    rare_sets = np.array([any(label not in learned for label in own) for own in members])
    if not rare_sets.any():
        return Assignment(_joined(blocks))
    moved: list[np.ndarray] = []
    found: set[int] = set()
    for block in index():
        own = block[divided[block["part"]]]
        rare = own[rare_sets[own["labels"]]]
        moved.append(rare["hash"])
        found.update(np.unique(rare["labels"]).tolist())
    hashes = np.unique(np.concatenate(moved))
    total = 0
    for codes, block in zip(blocks, index(), strict=True):
        own = divided[block["part"]] & np.isin(block["hash"], hashes) & (codes != train)
        codes[own] = train
        total += int(own.sum())
    rare_labels = sorted(
        {names[label] for number in found for label in members[number]} - _names(names, learned)
    )
    return Assignment(_joined(blocks), total, tuple(rare_labels))


def _names(names: Sequence[str], positions: Iterable[int]) -> set[str]:
    return {names[position] for position in positions}
