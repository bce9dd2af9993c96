"""The data check: finds errors in a dataset in one pass, before training.

No text is kept in memory, only 64 bits of its hash and a few numbers, about 16 bytes a row, and the distinct
tokens with their counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np

from data.formats import EMPTY_LINE, BadRow, Row
from data.splits import ALL_SPLITS, SPLITS
from data.vocabulary import most_frequent

Tokenize = Callable[[Sequence[str]], list[list[bytes]]]

MALFORMED_KEPT = 20
PLACES_KEPT = 5
PLACES_SHOWN = 3
MAX_IMBALANCE = 10
"""Ratio of the largest to the smallest class above which there is a warning."""

_BATCH_TEXTS = 1024
_BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Malformed:
    """A row that can't be read."""

    where: str
    line: int
    """Counts from 1."""
    reason: str


@dataclass(frozen=True)
class Lengths:
    """Tokens of a text: the length that so many per cent of the texts do not exceed."""

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
    """Distinct ones."""
    places: tuple[tuple[str, str], ...]
    """Of the first 5, a row of each split."""


@dataclass(frozen=True)
class UnseenLabel:
    """A label that no row of `train` has."""

    split: str
    label: str
    rows: int
    place: str
    """Of the first."""


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split; a place is `where:line`."""

    rows: int
    """Without the malformed ones."""
    labels: Mapping[str, int]
    """Rows of each label, by name; empty for rows without labels."""
    empty: int
    """Texts without tokens."""
    empty_places: tuple[str, ...]
    """Of the first 5."""
    duplicates: int
    """Rows whose text occurs in an earlier row of the split."""
    duplicate_places: tuple[str, ...]
    """Of the first 5."""
    conflicts: int
    """Distinct texts that have more than one label."""
    conflict_places: tuple[tuple[str, str], ...]
    """Of the first 5 such texts, two rows that disagree."""
    lengths: Lengths | None
    """None without rows."""
    malformed: int
    first_malformed: tuple[Malformed, ...]
    """At most 20."""

    @property
    def largest_class_share(self) -> float | None:
        """Part of the rows that have the most frequent label; None without labels."""
        return max(self.labels.values()) / self.rows if self.labels else None

    @property
    def smallest_class_share(self) -> float | None:
        """Part of the rows that have the rarest label of the split; None without labels."""
        return min(self.labels.values()) / self.rows if self.labels else None


@dataclass(frozen=True)
class Report:
    """What was found in a dataset."""

    splits: Mapping[str, SplitReport]
    """In the order of training, validation and test; `train` is always there."""
    overlaps: tuple[Overlap, ...]
    """Of every two splits."""
    unknown_shares: Mapping[str, float]
    """Part of the tokens of each split but `train` that a vocabulary learned from `train` lacks."""
    unseen_labels: tuple[UnseenLabel, ...]
    """Empty if `train` has no rows."""

    @property
    def problems(self) -> list[str]:
        """Return what must be fixed before training, a sentence each."""
        found = [_malformed(name, split) for name, split in self.splits.items() if split.malformed]
        found += [
            f"{name} has no rows; expected at least one"
            for name, split in self.splits.items()
            if not split.rows
        ]
        train = self.splits["train"]
        if len(train.labels) == 1:
            (label,) = train.labels
            found.append(
                f"train has only one class, {label!r} ({_count(train.rows, 'row')}); "
                "add rows of another, or name the right label column"
            )
        for name in self.splits:
            unseen = [own for own in self.unseen_labels if own.split == name]
            if unseen:
                rows = _count(sum(own.rows for own in unseen), "row")
                labels = [f"{own.label!r} ({own.rows:,}, first {own.place})" for own in unseen]
                found.append(
                    f"{name} has {rows} with a label that train lacks: {_first(labels, len(unseen))}; "
                    "correct the labels, or add such rows to train"
                )
        return found

    @property
    def warnings(self) -> list[str]:
        """Return what makes a model or its scores misleading, a sentence each."""
        found = []
        for name, split in self.splits.items():
            if split.empty:
                found.append(
                    f"{name} has {_count(split.empty, 'text')} without tokens "
                    f"({_first(split.empty_places, split.empty)}); fill or remove them"
                )
            if split.duplicates:
                found.append(
                    f"{name} has {_count(split.duplicates, 'row')} whose text occurs in an earlier row "
                    f"({_first(split.duplicate_places, split.duplicates)}); remove them, or the same text "
                    "counts more than once"
                )
            if split.conflicts:
                found.append(
                    f"{name} has {_count(split.conflicts, 'text')} with more than one label "
                    f"({_first(_pairs(split.conflict_places), split.conflicts)}); keep the right one"
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
                f"train has {_count(labels[largest], 'row')} of {largest!r} and {labels[smallest]:,} of "
                f"{smallest!r}, more than {MAX_IMBALANCE}:1; add rows of {smallest!r}, and do not rely on "
                "accuracy alone"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it, with the sentences, as plain dicts, lists, numbers and strings."""
        report = dataclasses.asdict(self)
        for name, split in self.splits.items():
            report["splits"][name]["largest_class_share"] = split.largest_class_share
            report["splits"][name]["smallest_class_share"] = split.smallest_class_share
        report |= {"problems": self.problems, "warnings": self.warnings}
        plain: dict[str, Any] = json.loads(json.dumps(report))  # tuples become lists
        return plain


def examine(
    rows: Iterable[tuple[str, str, Row | BadRow]],
    *,
    tokenize: Tokenize,
    vocabulary_size: int,
    min_count: int,
    splits: Iterable[str] = (),
) -> Report:
    """Read all rows once and report what is wrong with them.

    Args:
        rows: (split, where, row), as `data.splits.rows_by_split` gives them: a row's values are `text`
            and perhaps `label`, and all rows of a split have the same `where`.
        tokenize: tokenizes texts, at most 1,024 at once.
        vocabulary_size: how many tokens a vocabulary keeps, special tokens not counted.
        min_count: rarer tokens of `train` are out of vocabulary.
        splits: those that are expected, so that one without a single row is reported; as a rule the parts
            of the source, of which `all` is no split.

    Raises:
        UserError: the rows can't be read any further, e.g. a truncated file.

    """
    tallies = {split: _Tally() for split in ("train", *splits) if split != ALL_SPLITS}
    for split, where, row in rows:
        tally = tallies.setdefault(split, _Tally())
        tally.where = where
        if isinstance(row, Row):
            tally.add(row, tokenize)
        elif row.reason != EMPTY_LINE:
            tally.malformed += 1
            if len(tally.first_malformed) < MALFORMED_KEPT:
                tally.first_malformed.append(Malformed(where, row.line, row.reason))
    for tally in tallies.values():
        tally.count_tokens(tokenize)

    order = {name: position for position, name in enumerate(SPLITS)}
    tallies = {name: tallies[name] for name in sorted(tallies, key=lambda name: order.get(name, len(order)))}
    reports, distinct = {}, {}
    for name, tally in tallies.items():
        reports[name], distinct[name] = _split_report(tally)
    return Report(
        splits=reports,
        overlaps=tuple(
            _overlap(a, b, tallies, np.intersect1d(distinct[a], distinct[b], assume_unique=True))
            for a, b in combinations(tallies, 2)
        ),
        unknown_shares=_unknown_shares(tallies, vocabulary_size, min_count),
        unseen_labels=tuple(_unseen_labels(tallies)),
    )


@dataclass
class _Tally:
    """What is kept of the rows of a split while they are read."""

    where: str = ""
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    label_ids: array[int] = field(default_factory=lambda: array("I"))
    labels: dict[str, int] = field(default_factory=dict)
    """Their ids."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Texts of each length; there are far fewer lengths than texts."""
    tokens: Counter[bytes] = field(default_factory=Counter)
    empty_lines: list[int] = field(default_factory=list)
    malformed: int = 0
    first_malformed: list[Malformed] = field(default_factory=list)
    _waiting: list[str] = field(default_factory=list)
    _waiting_characters: int = 0

    def add(self, row: Row, tokenize: Tokenize) -> None:
        text = row.text()
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "big"))
        self.lines.append(row.line)
        if "label" in row.values:
            self.label_ids.append(self.labels.setdefault(row.text("label"), len(self.labels)))
        self._waiting.append(text)
        self._waiting_characters += len(text)
        if len(self._waiting) == _BATCH_TEXTS or self._waiting_characters >= _BATCH_CHARACTERS:
            self.count_tokens(tokenize)

    def count_tokens(self, tokenize: Tokenize) -> None:
        """Count the tokens of the texts that wait, and let go of these."""
        if not self._waiting:
            return
        texts = tokenize(self._waiting)
        lengths = [len(tokens) for tokens in texts]
        self.lengths.update(lengths)
        self.tokens.update(chain.from_iterable(texts))
        if 0 in lengths and len(self.empty_lines) < PLACES_KEPT:
            lines = self.lines[-len(lengths) :]
            empty = [line for line, length in zip(lines, lengths, strict=True) if not length]
            self.empty_lines = (self.empty_lines + empty)[:PLACES_KEPT]
        self._waiting, self._waiting_characters = [], 0

    def place(self, index: int) -> str:
        return f"{self.where}:{self.lines[index]}"


def _split_report(tally: _Tally) -> tuple[SplitReport, np.ndarray]:
    """Sum up a split; the second result is the distinct hashes of its texts, sorted: uint64 [texts]."""
    order = np.argsort(np.asarray(tally.hashes), kind="stable")
    hashes = np.asarray(tally.hashes)[order]
    same = hashes[1:] == hashes[:-1]
    distinct = np.concatenate([hashes[:1], hashes[1:][~same]])
    repeated = np.sort(order[1:][same])
    pairs = _conflicts(tally, order, same)
    numbers = np.bincount(np.asarray(tally.label_ids)).tolist()
    report = SplitReport(
        rows=len(hashes),
        labels=dict(sorted(zip(tally.labels, numbers, strict=True))),
        empty=tally.lengths[0],
        empty_places=tuple(f"{tally.where}:{line}" for line in tally.empty_lines),
        duplicates=len(repeated),
        duplicate_places=tuple(tally.place(row) for row in repeated[:PLACES_KEPT]),
        conflicts=len(pairs),
        conflict_places=tuple((tally.place(a), tally.place(b)) for a, b in pairs[:PLACES_KEPT].tolist()),
        lengths=_percentiles(tally.lengths),
        malformed=tally.malformed,
        first_malformed=tuple(tally.first_malformed),
    )
    return report, distinct


def _conflicts(tally: _Tally, order: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Two rows of each text that has more than one label: int64 [texts, 2], in the order of the file.

    `order`, int64 [rows], has the rows of a text side by side, in the order of the file; `same`, bool
    [rows - 1], says whether a row of that order and the next have the same text.
    """
    if not tally.label_ids:
        return np.zeros((0, 2), np.int64)
    labels = np.asarray(tally.label_ids)[order]
    clashes = np.flatnonzero(same & (labels[1:] != labels[:-1]))
    texts = np.asarray(tally.hashes)[order[clashes]]
    _, first = np.unique(texts, return_index=True)
    pairs = np.stack([order[clashes[first]], order[clashes[first] + 1]], axis=1)
    return pairs[np.argsort(pairs[:, 0])]


def _percentiles(lengths: Counter[int]) -> Lengths | None:
    """Percentiles by nearest rank, so that each is the length of some text."""
    if not lengths:
        return None
    values = sorted(lengths)
    ranks = np.cumsum([lengths[value] for value in values])
    p50, p90, p99 = (
        values[int(np.searchsorted(ranks, -(-int(ranks[-1]) * percent // 100)))] for percent in (50, 90, 99)
    )
    return Lengths(p50, p90, p99, values[-1])


def _unknown_shares(tallies: Mapping[str, _Tally], vocabulary_size: int, min_count: int) -> dict[str, float]:
    counts = tallies["train"].tokens
    tokens = list(counts)
    numbers = np.fromiter(counts.values(), np.int64, len(tokens))
    kept = most_frequent(tokens, numbers, most=vocabulary_size, min_count=min_count)
    known = {tokens[i] for i in kept}
    return {
        name: sum(n for token, n in tally.tokens.items() if token not in known) / tally.tokens.total()
        for name, tally in tallies.items()
        if name != "train" and tally.tokens
    }


def _unseen_labels(tallies: Mapping[str, _Tally]) -> Iterator[UnseenLabel]:
    train = tallies["train"]
    if not train.lines:  # every label would be unseen, but the error is that there are no rows
        return
    for split, tally in tallies.items():
        ids, rows, counts = np.unique(np.asarray(tally.label_ids), return_index=True, return_counts=True)
        names = list(tally.labels)
        for i, row, count in zip(ids, rows, counts, strict=True):
            if names[i] not in train.labels:
                yield UnseenLabel(split, names[i], int(count), tally.place(row))


def _overlap(first: str, second: str, tallies: Mapping[str, _Tally], texts: np.ndarray) -> Overlap:
    """Find the first rows of the texts, given by their hashes, that stand in both splits."""
    places = []
    if len(texts):
        ones, others = np.asarray(tallies[first].hashes), np.asarray(tallies[second].hashes)
        rows = np.flatnonzero(np.isin(others, texts))
        _, earliest = np.unique(others[rows], return_index=True)
        for row in rows[np.sort(earliest)[:PLACES_KEPT]]:
            twin = np.flatnonzero(ones == others[row])[0]
            places.append((tallies[first].place(twin), tallies[second].place(row)))
    return Overlap(first, second, len(texts), tuple(places))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _first(items: Sequence[str], total: int) -> str:
    """List the first few, and say how many more there are."""
    shown = items[:PLACES_SHOWN]
    more = total - len(shown)
    return ", ".join(shown) + (f", and {more:,} more" if more else "")


def _pairs(places: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{first} and {second}" for first, second in places]


def _malformed(name: str, split: SplitReport) -> str:
    rows = [f"{row.where}:{row.line} ({row.reason})" for row in split.first_malformed]
    return (
        f"{name} has {_count(split.malformed, 'row')} that can't be read: "
        f"{_first(rows, split.malformed)}; fix or remove them"
    )
