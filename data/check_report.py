"""Report of the data check: what was found in each split, and sentences about errors and warnings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PLACES_SHOWN = 3
"""Number of places that a sentence lists."""
MAX_IMBALANCE = 10
"""Ratio of the largest to the smallest class above which there is a warning."""


@dataclass(frozen=True)
class Malformed:
    """A row that cannot be read."""

    where: str
    line: int
    """From 1."""
    reason: str


@dataclass(frozen=True)
class Lengths:
    """Percentiles of the number of tokens of a text."""

    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True)
class Overlap:
    """Texts that occur in two splits."""

    first: str
    second: str
    texts: int
    """Number of distinct texts."""
    places: tuple[tuple[str, str], ...]
    """Of each of the first 5 texts, one place in each split."""


@dataclass(frozen=True)
class UnseenLabel:
    """A label that no example of `train` has."""

    split: str
    label: str
    rows: int
    place: str
    """Place of the first example."""


@dataclass(frozen=True)
class SplitReport:
    """Findings in one split; a place is `where:line`."""

    rows: int
    """Number of examples, without malformed rows."""
    labels: Mapping[str, int]
    """Number of examples of each label, by name; empty for examples without labels."""
    empty: int
    """Number of texts without tokens."""
    empty_places: tuple[str, ...]
    """Places of the first 5."""
    duplicates: int
    """Number of examples whose text occurs in an earlier example of the split."""
    duplicate_places: tuple[str, ...]
    """Places of the first 5."""
    conflicts: int
    """Number of distinct texts that have more than one label."""
    conflict_places: tuple[tuple[str, str], ...]
    """Of each of the first 5 texts, two places with different labels."""
    lengths: Lengths | None
    """None without examples."""
    malformed: int
    first_malformed: tuple[Malformed, ...]
    """At most 20."""

    @property
    def largest_class_share(self) -> float | None:
        """Return the share of the most frequent label; None without labels."""
        return max(self.labels.values()) / self.rows if self.labels else None

    @property
    def smallest_class_share(self) -> float | None:
        """Return the share of the least frequent label of the split; None without labels."""
        return min(self.labels.values()) / self.rows if self.labels else None


@dataclass(frozen=True)
class Report:
    """Findings in a dataset."""

    splits: Mapping[str, SplitReport]
    """In the order training, validation, test; always has `train`."""
    overlaps: tuple[Overlap, ...]
    """One for each pair of splits."""
    unknown_shares: Mapping[str, float]
    """Share of tokens that are out of vocabulary, in each split except `train`, from which it is learned."""
    unseen_labels: tuple[UnseenLabel, ...]
    """Empty if `train` has no examples."""

    @property
    def problems(self) -> list[str]:
        """Return the errors, which must be fixed before training, a sentence each."""
        found = [_malformed(name, split) for name, split in self.splits.items() if split.malformed]
        found += [
            f"{name} has no examples; expected at least one"
            for name, split in self.splits.items()
            if not split.rows
        ]
        train = self.splits["train"]
        if len(train.labels) == 1:
            (label,) = train.labels
            found.append(
                f"train has only one class, {label!r} ({_count(train.rows, 'example')}); "
                "add examples of another class, or name the right label column"
            )
        for name in self.splits:
            unseen = [own for own in self.unseen_labels if own.split == name]
            if unseen:
                examples = _count(sum(own.rows for own in unseen), "example")
                labels = [f"{own.label!r} ({own.rows:,}, first {own.place})" for own in unseen]
                found.append(
                    f"{name} has {examples} with a label that does not occur in train: "
                    f"{_first(labels, len(unseen))}; "
                    "correct the labels, or add such examples to train"
                )
        return found

    @property
    def warnings(self) -> list[str]:
        """Return the warnings, about data that make a model or its scores misleading, a sentence each."""
        found = []
        for name, split in self.splits.items():
            if split.empty:
                found.append(
                    f"{name} has {_count(split.empty, 'text')} without tokens "
                    f"({_first(split.empty_places, split.empty)}); fill or remove them"
                )
            if split.duplicates:
                found.append(
                    f"{name} has {_count(split.duplicates, 'example')} whose text occurs in an earlier "
                    f"example ({_first(split.duplicate_places, split.duplicates)}); remove them, or the "
                    "same text counts more than once"
                )
            if split.conflicts:
                found.append(
                    f"{name} has {_count(split.conflicts, 'text')} with more than one label "
                    f"({_first(_pairs(split.conflict_places), split.conflicts)}); keep the correct one"
                )
        for overlap in self.overlaps:
            if overlap.texts:
                found.append(
                    f"{overlap.first} and {overlap.second} share {_count(overlap.texts, 'text')} "
                    f"({_first(_pairs(overlap.places), overlap.texts)}); remove them from {overlap.first}, "
                    f"or scores on {overlap.second} will be too good"
                )
        labels = self.splits["train"].labels
        if labels and max(labels.values()) > MAX_IMBALANCE * min(labels.values()):
            largest, smallest = max(labels, key=labels.__getitem__), min(labels, key=labels.__getitem__)
            found.append(
                f"train has {_count(labels[largest], 'example')} of {largest!r} and {labels[smallest]:,} of "
                f"{smallest!r}, more than {MAX_IMBALANCE}:1; add examples of {smallest!r}, and do not rely "
                "on accuracy alone"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the report with its sentences as plain dicts, lists, numbers and strings."""
        report = dataclasses.asdict(self)
        for name, split in self.splits.items():
            report["splits"][name]["largest_class_share"] = split.largest_class_share
            report["splits"][name]["smallest_class_share"] = split.smallest_class_share
        report |= {"problems": self.problems, "warnings": self.warnings}
        plain: dict[str, Any] = json.loads(json.dumps(report))  # Tuples become lists.
        return plain


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _first(items: Sequence[str], total: int) -> str:
    """Return a list of the first few items and the number of further ones."""
    shown = items[:PLACES_SHOWN]
    more = total - len(shown)
    return ", ".join(shown) + (f", and {more:,} more" if more else "")


def _pairs(places: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{first} and {second}" for first, second in places]


def _malformed(name: str, split: SplitReport) -> str:
    rows = [f"{row.where}:{row.line} ({row.reason})" for row in split.first_malformed]
    return (
        f"{name} has {_count(split.malformed, 'row')} that cannot be read: "
        f"{_first(rows, split.malformed)}; fix or remove them"
    )
