"""The data check: examines a dataset in one pass, before training.

No text is kept in memory, only 64 bits of its hash and a few numbers (about 16 bytes per example), and the
distinct tokens with their counts.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

import numpy as np

from data.check_report import Lengths, Malformed, Overlap, Report, SplitReport, UnseenLabel
from data.formats import EMPTY_LINE, BadRow, Row
from data.splits import ALL_SPLITS, SPLITS
from data.vocabulary import most_frequent

Tokenize = Callable[[Sequence[str]], list[list[bytes]]]

MALFORMED_KEPT = 20
"""Number of malformed rows of a split that the report lists."""
PLACES_KEPT = 5
"""Number of places of one kind that the report lists."""
_BATCH_TEXTS = 1024
_BATCH_CHARACTERS = 1 << 20


def examine(
    rows: Iterable[tuple[str, str, Row | BadRow]],
    *,
    tokenize: Tokenize,
    vocabulary_size: int,
    min_count: int,
    splits: Iterable[str] = (),
) -> Report:
    """Read all rows once and return a report of errors and warnings.

    Args:
        rows: (split, where, row), as returned by `data.splits.rows_by_split`. A row has the field `text` and
            perhaps `label`. All rows of a split have the same `where`.
        tokenize: returns the tokens of at most 1,024 texts.
        vocabulary_size: maximum size of the vocabulary, without special tokens.
        min_count: rarer tokens of `train` are out of vocabulary.
        splits: expected splits; one without examples is an error. May be the parts of a source: `all` is
            ignored.

    Raises:
        UserError: a file is damaged, e.g. truncated.
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
    """Counts of one split while its rows are read."""

    where: str = ""
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    label_ids: array[int] = field(default_factory=lambda: array("I"))
    labels: dict[str, int] = field(default_factory=dict)
    """Label to id."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Number of texts of each length."""
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
        """Count the tokens of the waiting texts, and forget these texts."""
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
    """Return the report of a split, and the distinct hashes of its texts, sorted: uint64 [texts]."""
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
        duplicate_places=tuple(tally.place(index) for index in repeated[:PLACES_KEPT]),
        conflicts=len(pairs),
        conflict_places=tuple((tally.place(a), tally.place(b)) for a, b in pairs[:PLACES_KEPT].tolist()),
        lengths=_percentiles(tally.lengths),
        malformed=tally.malformed,
        first_malformed=tuple(tally.first_malformed),
    )
    return report, distinct


def _conflicts(tally: _Tally, order: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Return two examples of each text that has more than one label: int64 [texts, 2], in order of the file.

    `order`, int64 [examples], sorts the examples by text, and equal texts by position. `same`, bool
    [examples - 1], says whether an example in that order has the same text as the next one.
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
    """Return percentiles by nearest rank, so that each is the length of a text."""
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
    if not train.lines:  # The error is that there are no examples, not that every label is unseen.
        return
    for split, tally in tallies.items():
        ids, first, counts = np.unique(np.asarray(tally.label_ids), return_index=True, return_counts=True)
        names = list(tally.labels)
        for i, index, count in zip(ids, first, counts, strict=True):
            if names[i] not in train.labels:
                yield UnseenLabel(split, names[i], int(count), tally.place(index))


def _overlap(first: str, second: str, tallies: Mapping[str, _Tally], texts: np.ndarray) -> Overlap:
    """Return the overlap of two splits, with the first places of the texts; `texts` has their hashes."""
    places = []
    if len(texts):
        ones, others = np.asarray(tallies[first].hashes), np.asarray(tallies[second].hashes)
        found = np.flatnonzero(np.isin(others, texts))
        _, earliest = np.unique(others[found], return_index=True)
        for index in found[np.sort(earliest)[:PLACES_KEPT]]:
            twin = np.flatnonzero(ones == others[index])[0]
            places.append((tallies[first].place(twin), tallies[second].place(index)))
    return Overlap(first, second, len(texts), tuple(places))
