"""The data check's statistics of examples, which it sees one at a time.

No text is kept in memory, only 64 bits of the hash of each field and a few numbers (about 40 bytes per
example), and the distinct tokens with their counts.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

import numpy as np

from data.check_report import FieldReport, Lengths, Overlap, Places, SplitReport, Statistics, UnseenLabel
from data.column_warnings import Column
from data.findings import PLACES_KEPT
from data.formats import Field, Row, Value
from data.scan import ExampleValidator
from data.splits import SPLITS
from data.vocabulary import most_frequent

Tokenize = Callable[[Sequence[str]], list[list[bytes]]]

MAX_RATIO = 5
"""How many times longer or shorter than usual a target is, compared with its source, to be odd."""
MIN_DIFFERENCE = 10
"""Minimum difference in tokens from the usual length for the lengths of a pair to be odd."""
_BATCH_TEXTS = 1024
_BATCH_CHARACTERS = 1 << 20
_TEXT_KINDS = ("text", "tokens")
_NAME_KINDS = ("label", "labels", "tags")


class StatisticsObserver(ExampleValidator):
    """Counts of all fields of examples."""

    def __init__(
        self,
        fields: Sequence[Field],
        *,
        tokenize: Tokenize,
        vocabulary_size: int,
        min_count: int,
        max_length: int = 0,
        lowercase: bool = True,
        pair: tuple[str, str] | None = None,
        splits: Iterable[str] = (),
    ) -> None:
        """Initialize.

        Args:
            fields: of an example. Equal values of the first one mark duplicates.
            tokenize: returns the tokens of at most 1,024 texts.
            vocabulary_size: maximum size of a vocabulary, without special tokens.
            min_count: rarer tokens of `train` are out of vocabulary.
            max_length: maximum number of tokens of a text; 0: no limit.
            lowercase: whether tokens that are given are compared in lower case.
            pair: names of the fields of a source and its translation, if the examples have them.
            splits: expected splits.
        """
        self._texts = [own.name for own in fields if own.kind in _TEXT_KINDS]
        self._inputs = [own.name for own in fields if own.kind in _TEXT_KINDS and not own.optional]
        self._answers = [own.name for own in fields if own.kind in _NAME_KINDS]
        self._labels = [own.name for own in fields if own.kind in ("label", "labels")]
        self._several_labels = any(own.kind == "labels" for own in fields)
        self._pair = pair
        self._tokenize = tokenize
        self._vocabulary_size = vocabulary_size
        self._min_count = min_count
        self._max_length = max_length
        self._lowercase = lowercase
        self._where: list[str] = []
        self._files: dict[str, int] = {}
        self._tallies = {split: _Tally() for split in ("train", *splits)}
        self._columns = {name: Column(name) for name in self._texts}

    def add(self, split: str, where: str, row: Row) -> None:
        """See the next example.

        Args:
            split: of the example.
            where: path of its file, or name of its source.
            row: the example.
        """
        tally = self._tallies.setdefault(split, _Tally())
        if where not in self._files:
            self._files[where] = len(self._files)
            self._where.append(where)
        tally.files.append(self._files[where])
        tally.lines.append(row.line)
        tally.rows.append(_hash(row.values))
        labels = _names(row.values, self._labels)
        if self._labels:
            tally.label_ids.append(tally.label_sets.setdefault(labels, len(tally.label_sets)))
        if self._answers and not self._pair:
            tally.answers.append(_hash({name: row.values.get(name, "") for name in self._answers}))
        for name in self._texts:
            if name not in row.values:  # it is optional
                continue
            value = row.values[name]
            own = tally.fields.setdefault(name, _FieldTally())
            own.rows.append(len(tally.lines) - 1)
            own.hashes.append(_hash(value))
            if isinstance(value, tuple):
                own.count([[self._token(token) for token in value]])
                self._columns[name].add_tokens(value, row.values.get("tags"))
                continue
            self._columns[name].add(str(value), labels)
            own.wait(str(value))
            if len(own.waiting) == _BATCH_TEXTS or own.waiting_characters >= _BATCH_CHARACTERS:
                own.count_waiting(self._tokenize)
        if self._pair:
            source, target = (str(row.values[name]).strip() for name in self._pair)
            if source == target and any(character.isalpha() for character in source):
                tally.untranslated.append(len(tally.lines) - 1)

    def _token(self, token: str) -> bytes:
        return (token.lower() if self._lowercase else token).encode(errors="replace")

    def statistics(self) -> Statistics:
        """Return the statistics of all examples that were added."""
        for tally in self._tallies.values():
            for own in tally.fields.values():
                own.count_waiting(self._tokenize)
        order = {name: position for position, name in enumerate(SPLITS)}
        names = sorted(self._tallies, key=lambda name: order.get(name, len(order)))
        tallies = {name: self._tallies[name] for name in names}
        first = self._texts[0]
        distinct = {name: np.unique(tally.hashes(first)) for name, tally in tallies.items()}
        for name, column in self._columns.items():
            hashes = np.concatenate([tally.hashes(name) for tally in tallies.values()])
            column.distinct = len(np.unique(hashes))
        unknown = {name: self._unknown_shares(name) for name in self._texts}
        return Statistics(
            splits={
                split: self._split_report(tally, {name: own.get(split) for name, own in unknown.items()})
                for split, tally in tallies.items()
            },
            overlaps=tuple(
                self._overlap(a, b, np.intersect1d(distinct[a], distinct[b], assume_unique=True))
                for a, b in combinations(tallies, 2)
            ),
            unknown_shares=unknown[first],
            unseen_labels=tuple(self._unseen_labels(tallies)),
            columns=tuple(self._columns.values()),
            max_length=self._max_length,
            pairs=self._pair is not None,
            several_labels=self._several_labels,
        )

    def _split_report(self, tally: _Tally, unknown: Mapping[str, float | None]) -> SplitReport:
        hashes = tally.hashes(self._texts[0])
        repeated = _repeated(hashes)
        conflicts = self._conflicts(tally)
        fields = {}
        for name in self._present():
            lengths, rows = tally.lengths(name), tally.rows_of(name)
            fields[name] = FieldReport(
                empty=self._places(tally, rows[lengths == 0]),
                lengths=_percentiles(lengths),
                tokens=int(lengths.sum()),
                long=self._places(tally, rows[self._is_long(lengths)]),
                unknown_share=unknown[name],
            )
        return SplitReport(
            rows=len(tally.lines),
            labels=tally.label_counts(),
            fields=fields,
            duplicates=self._places(tally, repeated),
            duplicate_rows=len(_repeated(np.asarray(tally.rows))),
            conflicts=Places(
                tuple(
                    f"{self._place(tally, a)} and {self._place(tally, b)}"
                    for a, b in conflicts[:PLACES_KEPT].tolist()
                ),
                len(conflicts),
            ),
            untranslated=self._places(tally, np.asarray(tally.untranslated, np.int64)),
            odd_lengths=self._odd_lengths(tally),
        )

    def _present(self) -> list[str]:
        """Return the names of the texts that an example has."""
        found = {name for tally in self._tallies.values() for name in tally.fields}
        return [name for name in self._texts if name in found or name in self._inputs]

    def _is_long(self, lengths: np.ndarray) -> np.ndarray:
        # A pair with a side of exactly the maximum length is not used: the side may have been truncated.
        most = (self._max_length or np.iinfo(np.int64).max) - (self._pair is not None)
        long: np.ndarray = lengths > most
        return long

    def _place(self, tally: _Tally, index: int) -> str:
        return f"{self._where[tally.files[index]]}:{tally.lines[index]}"

    def _places(self, tally: _Tally, indices: np.ndarray) -> Places:
        first = indices[:PLACES_KEPT].tolist()
        return Places(tuple(self._place(tally, index) for index in first), len(indices))

    def _conflicts(self, tally: _Tally) -> np.ndarray:
        """Return two examples of each input that has more than one answer: int64 [inputs, 2]."""
        if not tally.answers:
            return np.zeros((0, 2), np.int64)
        inputs = tally.hashes(self._inputs[0])
        for name in self._inputs[1:]:
            inputs = inputs * np.uint64(0x9E3779B97F4A7C15) ^ tally.hashes(name)
        order = np.argsort(inputs, kind="stable")
        inputs, answers = inputs[order], np.asarray(tally.answers)[order]
        clashes = np.flatnonzero((inputs[1:] == inputs[:-1]) & (answers[1:] != answers[:-1]))
        _, first = np.unique(inputs[clashes], return_index=True)
        pairs = np.stack([order[clashes[first]], order[clashes[first] + 1]], axis=1)
        return pairs[np.argsort(pairs[:, 0])]

    def _odd_lengths(self, tally: _Tally) -> Places:
        """Return the places of pairs whose lengths differ much more than those of other pairs."""
        if not self._pair:
            return Places()
        source, target = (tally.lengths(name).astype(np.float64) for name in self._pair)
        filled = np.flatnonzero((source > 0) & (target > 0))
        if not len(filled):
            return Places()
        ratios = np.log(target[filled] / source[filled])
        usual = np.median(ratios)
        odd = np.abs(ratios - usual) > np.log(MAX_RATIO)
        far = np.abs(target - source * np.exp(usual))[filled] >= MIN_DIFFERENCE * max(1, np.exp(usual))
        found = filled[odd & far]
        return Places(
            tuple(
                f"{self._place(tally, i)}: {source[i]:,.0f} and {target[i]:,.0f} tokens"
                for i in found[:PLACES_KEPT].tolist()
            ),
            len(found),
        )

    def _unknown_shares(self, name: str) -> dict[str, float]:
        counts = {
            split: tally.fields[name].tokens
            for split, tally in self._tallies.items()
            if name in tally.fields and tally.fields[name].tokens
        }
        train = counts.pop("train", Counter())
        tokens = list(train)
        numbers = np.fromiter(train.values(), np.int64, len(tokens))
        kept = most_frequent(tokens, numbers, most=self._vocabulary_size, min_count=self._min_count)
        known = {tokens[i] for i in kept}
        return {
            split: sum(n for token, n in own.items() if token not in known) / own.total()
            for split, own in counts.items()
        }

    def _unseen_labels(self, tallies: Mapping[str, _Tally]) -> Iterator[UnseenLabel]:
        train = tallies["train"]
        if not train.lines:  # The error is that there are no examples, not that every label is unseen.
            return
        known = set(train.label_counts())
        for split, tally in tallies.items():
            sets = list(tally.label_sets)
            unseen = {i: [label for label in own if label not in known] for i, own in enumerate(sets)}
            places: dict[str, list[int]] = {}
            for index, i in enumerate(tally.label_ids):
                for label in unseen[i]:
                    places.setdefault(label, []).append(index)
            for label, indices in places.items():
                yield UnseenLabel(split, label, self._places(tally, np.asarray(indices)))

    def _overlap(self, first: str, second: str, texts: np.ndarray) -> Overlap:
        """Return the overlap of two splits, with the places of the texts; `texts` has their hashes."""
        places: list[str] = []
        if len(texts):
            a, b = self._tallies[first], self._tallies[second]
            ones, others = a.hashes(self._texts[0]), b.hashes(self._texts[0])
            hashes, twins = np.unique(ones, return_index=True)
            found = np.flatnonzero(np.isin(others, texts))
            _, earliest = np.unique(others[found], return_index=True)
            for index in found[np.sort(earliest)[:PLACES_KEPT]].tolist():
                twin = int(twins[np.searchsorted(hashes, others[index])])
                places.append(f"{self._place(a, twin)} and {self._place(b, index)}")
        return Overlap(first, second, Places(tuple(places), len(texts)))


@dataclass
class _FieldTally:
    """Counts of one field of the examples of a split that have it."""

    rows: array[int] = field(default_factory=lambda: array("I"))
    """Positions of the examples that have the field."""
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    """Number of tokens of each value."""
    tokens: Counter[bytes] = field(default_factory=Counter)
    waiting: list[str] = field(default_factory=list)
    waiting_characters: int = 0

    def wait(self, text: str) -> None:
        """Keep a text until there are enough for a batch."""
        self.waiting.append(text)
        self.waiting_characters += len(text)

    def count(self, texts: Sequence[Sequence[bytes]]) -> None:
        """Count the tokens of texts."""
        self.lengths.extend(len(tokens) for tokens in texts)
        self.tokens.update(chain.from_iterable(texts))

    def count_waiting(self, tokenize: Tokenize) -> None:
        """Count the tokens of the waiting texts, and forget these texts."""
        if self.waiting:
            self.count(tokenize(self.waiting))
            self.waiting, self.waiting_characters = [], 0


@dataclass
class _Tally:
    """Counts of one split."""

    files: array[int] = field(default_factory=lambda: array("I"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    rows: array[int] = field(default_factory=lambda: array("Q"))
    """Hash of all fields of each example."""
    answers: array[int] = field(default_factory=lambda: array("Q"))
    """Hash of the labels and tags of each example."""
    label_sets: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Labels of an example to an id."""
    label_ids: array[int] = field(default_factory=lambda: array("I"))
    fields: dict[str, _FieldTally] = field(default_factory=dict)
    untranslated: array[int] = field(default_factory=lambda: array("I"))

    def hashes(self, name: str) -> np.ndarray:
        """Return the hashes of a field: uint64 [examples]."""
        return np.asarray(self.fields[name].hashes if name in self.fields else [], np.uint64)

    def lengths(self, name: str) -> np.ndarray:
        """Return the numbers of tokens of a field: int64 [examples]."""
        return np.asarray(self.fields[name].lengths if name in self.fields else [], np.int64)

    def rows_of(self, name: str) -> np.ndarray:
        """Return the positions of the examples that have a field: int64 [examples with the field]."""
        return np.asarray(self.fields[name].rows if name in self.fields else [], np.int64)

    def label_counts(self) -> dict[str, int]:
        """Return the number of examples of each label, by name."""
        counts: Counter[str] = Counter()
        numbers = np.bincount(np.asarray(self.label_ids, np.int64), minlength=len(self.label_sets))
        for labels, number in zip(self.label_sets, numbers.tolist(), strict=True):
            for label in labels:
                counts[label] += number
        return dict(sorted(counts.items()))


def _hash(value: Value | Mapping[str, Value]) -> int:
    """Return 64 bits of a hash of a value or of all values of a row."""
    content = (
        value
        if isinstance(value, str)
        else repr(sorted(value.items()) if isinstance(value, Mapping) else value)
    )
    return int.from_bytes(hashlib.blake2b(content.encode(errors="replace"), digest_size=8).digest(), "big")


def _names(values: Mapping[str, Value], fields: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in fields:
        value = values.get(name)
        if isinstance(value, tuple):
            found += dict.fromkeys(value)
        elif value is not None:
            found.append(str(value))
    return tuple(found)


def _repeated(hashes: np.ndarray) -> np.ndarray:
    """Return the positions of hashes that are equal to an earlier one, in order."""
    _, first = np.unique(hashes, return_index=True)
    repeated = np.ones(len(hashes), bool)
    repeated[first] = False
    return np.flatnonzero(repeated)


def _percentiles(lengths: np.ndarray) -> Lengths | None:
    """Return percentiles by nearest rank, so that each is the length of a text."""
    if not len(lengths):
        return None
    ordered = np.sort(lengths)
    p50, p90, p99 = (int(ordered[-(-len(ordered) * percent // 100) - 1]) for percent in (50, 90, 99))
    return Lengths(p50, p90, p99, int(ordered[-1]))
