"""Examples as token ids on disk: each text is tokenized once for a dataset, not in each epoch.

In a first pass tokens get provisional ids, in the order of their first occurrence. When the vocabulary is
known, the provisional ids are mapped to it. Neither all texts nor all ids are in memory at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.vocabulary import most_frequent, read_vocabulary, write_vocabulary

Texts = Sequence[bytes] | np.ndarray
"""UTF-8, as a list or as an array of objects."""
UniqueTokens = tuple[Sequence[bytes], np.ndarray, np.ndarray]
"""Distinct tokens of a batch; int [tokens] a position among them for each token; int [examples] lengths."""

_CHUNK = 1 << 22
MOST_DISTINCT = 1 << 21
"""Number of distinct tokens that are counted at once, see `VocabularyRule.most`."""


@dataclass(frozen=True)
class VocabularyRule:
    """Selection of the tokens of a vocabulary, which is learned from the training examples."""

    special: Sequence[bytes]
    """The first tokens."""
    unknown_id: int
    """The id of a token that is out of vocabulary."""
    most: int
    """Maximum size, the special tokens included. Of texts with more than `MOST_DISTINCT` distinct tokens, and
    more than eight times this size, the rarest are forgotten while the tokens are counted, so that at most
    half of them are kept (as fastText does). A forgotten token that occurs again is counted from 1, and what
    it was before is out of vocabulary."""
    min_count: int = 1
    """Rarer tokens are out of vocabulary."""
    training_only: bool = True
    """Whether tokens that only occur in other splits are out of vocabulary."""


@dataclass(frozen=True)
class TokenizedBatch:
    """A batch of tokenized examples."""

    split: str
    sequences: Mapping[str, UniqueTokens]
    """The tokens of each sequence of an example, by its name."""
    columns: Mapping[str, np.ndarray]
    """[examples, …]: other values of each example."""


class Sequences:
    """One sequence of token ids per example, in a memory-mapped file."""

    def __init__(self, path: Path, dtype: np.dtype, lengths: np.ndarray) -> None:
        """Open the file.

        Args:
            path: the ids of all examples, concatenated.
            dtype: of an id in the file.
            lengths: int [examples], tokens of each example; may be 0.

        Raises:
            ValueError: the file has fewer ids.
        """
        if path.stat().st_size < int(lengths.sum()) * dtype.itemsize:
            raise ValueError(f"{path}: is not complete")
        # An empty file cannot be mapped.
        self._ids = np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self.counts = lengths
        """int [examples]: tokens of each example."""
        self.lengths = lengths if (lengths > 0).all() else np.maximum(lengths, 1)
        """int [examples]: as `counts`, but at least 1: a text without tokens is one step of padding."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.lengths)

    def row(self, index: int) -> np.ndarray:
        """Return the token ids of an example, in the dtype of the file: [tokens]."""
        return self.span(int(self._starts[index]), int(self._starts[index + 1]))

    def span(self, start: int, end: int) -> np.ndarray:
        """Return token ids by their position in the whole split: [end - start]."""
        return np.asarray(self._ids[start:end])

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield ids of whole texts, int64 [tokens], and the number of tokens of each text, int [texts]."""
        first = 0
        while first < len(self.counts):
            start = int(self._starts[first])
            last = max(int(np.searchsorted(self._starts, start + _CHUNK, "right")) - 1, first + 1)
            yield self.span(start, int(self._starts[last])).astype(np.int64), self.counts[first:last]
            first = last

    def occurrences(self, size: int) -> np.ndarray:
        """Return how often each id below `size` occurs: int64 [size]."""
        found = np.zeros(size, np.int64)
        for start in range(0, len(self._ids), _CHUNK):
            found += np.bincount(self._ids[start : start + _CHUNK], minlength=size)
        return found

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a padded batch.

        Args:
            indices: int64 [B], indices of examples.

        Returns:
            ids int32 [B, T], right-padded with 0, T the length of the longest example; lengths int32 [B].
        """
        return padded([self.row(index) for index in indices])


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of rows of token ids, at least one.

    `padded([[7, 8], [], [9]]) -> [[7, 8], [0, 0], [9, 0]], [2, 1, 1]`

    Args:
        rows: int [tokens] each.

    Returns:
        ids int32 [B, T], right-padded with 0, T the length of the longest row; lengths int32 [B], at least 1.
    """
    lengths = np.array([max(len(row), 1) for row in rows], np.int32)
    ids = np.zeros((len(rows), int(lengths.max())), np.int32)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
    return ids, lengths


@dataclass(frozen=True)
class EncodedSplit:
    """The examples of one split."""

    sequences: Mapping[str, Sequences]
    columns: Mapping[str, np.ndarray]
    """[examples, …]"""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(next(iter(self.sequences.values())))


@dataclass(frozen=True)
class Encoded:
    """A dataset as token ids."""

    vocabularies: Mapping[str, list[bytes]]
    """By name; an id is a position."""
    counts: Mapping[str, np.ndarray]
    """int64 [vocabulary]: occurrences of each token in the training split; of the unknown id, all others."""
    splits: Mapping[str, EncodedSplit]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that were learned from the training examples before they were encoded."""


class _Vocabulary:
    """A vocabulary whose tokens are still being counted."""

    def __init__(self, rule: VocabularyRule) -> None:
        self.rule = rule
        self._most = max(MOST_DISTINCT, 8 * rule.most)
        self._places: dict[bytes, int] = {}
        """Places of the tokens in the following arrays, in order."""
        self._counts = np.zeros(1024, np.int64)
        self._ids = np.zeros(1024, np.int64)
        """Provisional ids."""
        self._next = 0
        """The next provisional id."""
        self._forgotten = 0
        """Number of occurrences of tokens that are forgotten."""

    def add(self, tokens: Sequence[bytes], positions: np.ndarray, *, count: bool) -> np.ndarray:
        """Return provisional ids of tokens: [tokens]."""
        known, before = self._places, len(self._places)
        places = np.fromiter((known.setdefault(token, len(known)) for token in tokens), np.int64, len(tokens))
        if len(known) > len(self._counts):
            more = max(len(self._counts), len(known) - len(self._counts))
            self._counts, self._ids = np.pad(self._counts, (0, more)), np.pad(self._ids, (0, more))
        new = len(known) - before
        self._ids[before : len(known)] = np.arange(self._next, self._next + new)
        self._next += new
        if count:
            self._counts[places] += np.bincount(positions, minlength=len(tokens))
        spread: np.ndarray = self._ids[places][positions]
        if len(known) > self._most:
            self._forget()
        return spread

    def _forget(self) -> None:
        """Forget the rarest tokens, and all that are as rare as one of them."""
        tokens, special = list(self._places), set(self.rule.special)
        counts, ids = self._counts[: len(tokens)], self._ids[: len(tokens)]
        most = np.sort(counts)[-(self._most // 2) - 1]
        kept = (counts > most) | np.array([token in special for token in tokens])
        self._forgotten += int(counts[~kept].sum())
        self._places = {tokens[i]: place for place, i in enumerate(np.flatnonzero(kept).tolist())}
        self._counts, self._ids = counts[kept], ids[kept]

    def learn(self) -> tuple[list[bytes], np.ndarray, np.ndarray]:
        """Return the vocabulary, the counts of its tokens, and the final id of each provisional id."""
        rule, distinct = self.rule, list(self._places)
        counts, ids = self._counts[: len(distinct)], self._ids[: len(distinct)]
        special = set(rule.special)
        plain = np.array([token not in special for token in distinct], bool)
        countable = np.where(plain, counts if rule.training_only else np.maximum(counts, 1), 0)
        kept = most_frequent(
            distinct, countable, most=rule.most - len(rule.special), min_count=rule.min_count
        )
        vocabulary = [*rule.special, *(distinct[i] for i in kept)]
        dtype = np.uint16 if len(vocabulary) <= 1 << 16 else np.int32
        mapping = np.full(max(self._next, 1), rule.unknown_id, dtype)
        places = {token: place for place, token in enumerate(rule.special)}
        for i, token in zip(ids.tolist(), distinct, strict=True):
            if token in places and token:
                mapping[i] = places[token]
        mapping[ids[kept]] = np.arange(len(rule.special), len(vocabulary))
        known = np.bincount(mapping[ids], counts, len(vocabulary)).astype(np.int64)
        if self._forgotten:
            known[rule.unknown_id] += self._forgotten
        return vocabulary, known, mapping


class _Writer:
    """Writer of one sequence of a split."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._lengths: list[np.ndarray] = []

    def write(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        self._file.write(ids.astype(np.int32).tobytes())
        self._lengths.append(lengths.astype(np.int32))

    def close(self, mapping: np.ndarray) -> np.ndarray:
        """Replace each id by its entry in `mapping`, a chunk at a time, and return the lengths."""
        self._file.close()
        mapped = self.path.with_suffix(".mapped")
        with self.path.open("rb") as source, mapped.open("wb") as target:
            while len(ids := np.fromfile(source, np.int32, _CHUNK)):
                mapping[ids].tofile(target)
        mapped.replace(self.path)
        return np.concatenate(self._lengths)


def encode(
    batches: Iterable[TokenizedBatch],
    *,
    vocabulary_of: Mapping[str, str],
    rules: Mapping[str, VocabularyRule],
    facts: Mapping[str, Any] | None = None,
    directory: Path,
) -> None:
    """Learn vocabularies from the training examples, and write vocabularies and token ids to a directory.

    Args:
        batches: each of one split.
        vocabulary_of: the vocabulary of each sequence; two sequences may share one.
        rules: the rule of each vocabulary.
        facts: JSON values that are stored with them.
        directory: must exist and be empty.
    """
    growing = {name: _Vocabulary(rule) for name, rule in rules.items()}
    writers: dict[str, dict[str, _Writer]] = {}
    columns: dict[str, list[Mapping[str, np.ndarray]]] = {}
    for batch in batches:
        split = batch.split
        if split not in writers:
            writers[split] = {name: _Writer(directory / f"{split}.{name}.ids") for name in batch.sequences}
            columns[split] = []
        for name, (tokens, positions, lengths) in batch.sequences.items():
            ids = growing[vocabulary_of[name]].add(tokens, positions, count=split == "train")
            writers[split][name].write(ids, lengths)
        columns[split].append(batch.columns)

    dtypes: dict[str, str] = {}
    mappings = {}
    for name, vocabulary in growing.items():
        tokens, counts, mappings[name] = vocabulary.learn()
        write_vocabulary(directory / f"{name}.txt", tokens)
        np.save(directory / f"{name}.npy", counts)
        dtypes[name] = mappings[name].dtype.name
    for split, own in writers.items():
        parts = columns[split]
        arrays: dict[str, Any] = {
            f"column:{name}": np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        for name, writer in own.items():
            arrays[f"lengths:{name}"] = writer.close(mappings[vocabulary_of[name]])
        np.savez(directory / f"{split}.npz", **arrays)
    about: dict[str, Any] = {"dtypes": dtypes, "vocabulary_of": dict(vocabulary_of), "splits": list(writers)}
    about["facts"] = dict(facts or {})
    (directory / "encoded.json").write_text(json.dumps(about))


def load_encoded(directory: Path) -> Encoded:
    """Open a dataset that was written by `encode`.

    Raises:
        FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile: a file is missing or damaged.
    """
    about = json.loads((directory / "encoded.json").read_text())
    splits = {}
    for split in about["splits"]:
        with (directory / f"{split}.npz").open("rb") as file, np.load(file) as arrays:
            saved = {name: arrays[name] for name in arrays.files}
        sequences = {
            name: Sequences(
                directory / f"{split}.{name}.ids",
                np.dtype(about["dtypes"][vocabulary]),
                saved[f"lengths:{name}"],
            )
            for name, vocabulary in about["vocabulary_of"].items()
        }
        prefix = "column:"
        columns = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
        splits[split] = EncodedSplit(sequences, columns)
    names = list(about["dtypes"])
    return Encoded(
        {name: read_vocabulary(directory / f"{name}.txt") for name in names},
        {name: np.load(directory / f"{name}.npy") for name in names},
        splits,
        about["facts"],
    )
