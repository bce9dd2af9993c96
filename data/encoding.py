"""Examples as token ids on disk: each text is tokenized once for a run, not once an epoch.

Tokens get provisional ids in the order of their first occurrence while their text is read. When the
vocabulary is known, the ids are mapped to it. Neither the texts nor the ids are held in memory as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.vocabulary import most_frequent, read_vocabulary, write_vocabulary

Texts = Sequence[bytes] | np.ndarray
"""UTF-8, as a list or as an array of objects."""
UniqueTokens = tuple[Sequence[bytes], np.ndarray, np.ndarray]
"""Distinct tokens of a batch; int [tokens] a position among them for each token; int [rows] lengths."""

_CHUNK = 1 << 22


@dataclass(frozen=True)
class VocabularyRule:
    """Which tokens a vocabulary keeps, learned from the training rows."""

    special: Sequence[bytes]
    """The first tokens."""
    unknown_id: int
    """The id of a token that is out of vocabulary."""
    most: int
    """Maximum size, the special tokens included."""
    min_count: int = 1
    """Rarer tokens are out of vocabulary."""
    training_only: bool = True
    """Whether tokens that only occur in other rows are out of vocabulary."""


@dataclass(frozen=True)
class Rows:
    """A batch of examples that is to be encoded."""

    split: str
    sequences: Mapping[str, UniqueTokens]
    """The tokens of each sequence that a row has, by its name."""
    columns: Mapping[str, np.ndarray]
    """[rows, …]: other values of each row."""


class Sequences:
    """One sequence of token ids for each row, in a memory-mapped file."""

    def __init__(self, path: Path, dtype: np.dtype, lengths: np.ndarray) -> None:
        """Map the file.

        Args:
            path: the ids of all rows, concatenated.
            dtype: of an id in the file.
            lengths: int64 [rows], tokens of each row; may be 0.
        """
        # An empty file cannot be mapped.
        self._ids = np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self.counts = lengths
        """int64 [rows]: tokens of each row."""
        self.lengths = np.maximum(lengths, 1)
        """int64 [rows]; at least 1: a text without tokens is one step of padding."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths)

    def row(self, index: int) -> np.ndarray:
        """Return the token ids of a row, in the dtype of the file: [tokens]."""
        return self.span(int(self._starts[index]), int(self._starts[index + 1]))

    def span(self, start: int, end: int) -> np.ndarray:
        """Return token ids by their position in the whole split: [end - start]."""
        return np.asarray(self._ids[start:end])

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch of rows: indices int64 [B].

        Returns:
            ids int32 [B, T], right-padded with 0, T the longest row (at least 1); lengths int32 [B].
        """
        lengths = self.lengths[indices].astype(np.int32)
        ids = np.zeros((len(indices), int(lengths.max())), np.int32)
        for position, index in enumerate(indices):
            row = self.row(index)
            ids[position, : len(row)] = row
        return ids, lengths


@dataclass(frozen=True)
class EncodedSplit:
    """The examples of one split."""

    sequences: Mapping[str, Sequences]
    columns: Mapping[str, np.ndarray]
    """[rows, …]"""

    def __len__(self) -> int:
        """Return the number of rows."""
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
    """A vocabulary while its tokens are counted."""

    def __init__(self, rule: VocabularyRule) -> None:
        self.rule = rule
        self._provisional: dict[bytes, int] = {}
        self._counts = np.zeros(1024, np.int64)

    def add(self, tokens: Sequence[bytes], positions: np.ndarray, *, count: bool) -> np.ndarray:
        """Return provisional ids of tokens: [tokens]."""
        provisional = self._provisional
        ids = np.fromiter(
            (provisional.setdefault(token, len(provisional)) for token in tokens), np.int64, len(tokens)
        )
        if len(provisional) > len(self._counts):
            more = max(len(self._counts), len(provisional) - len(self._counts))
            self._counts = np.pad(self._counts, (0, more))
        if count:
            self._counts[ids] += np.bincount(positions, minlength=len(tokens))
        spread: np.ndarray = ids[positions]
        return spread

    def learn(self) -> tuple[list[bytes], np.ndarray, np.ndarray]:
        """Return the vocabulary, the counts of its tokens, and the final id of each provisional one."""
        rule, distinct, counts = self.rule, list(self._provisional), self._counts
        special = set(rule.special)
        plain = np.array([token not in special for token in distinct], bool)
        counts = counts[: len(distinct)]
        countable = np.where(plain, counts if rule.training_only else np.maximum(counts, 1), 0)
        kept = most_frequent(
            distinct, countable, most=rule.most - len(rule.special), min_count=rule.min_count
        )
        vocabulary = [*rule.special, *(distinct[i] for i in kept)]
        dtype = np.uint16 if len(vocabulary) <= 1 << 16 else np.int32
        mapping = np.full(max(len(distinct), 1), rule.unknown_id, dtype)
        places = {token: place for place, token in enumerate(rule.special)}
        for i, token in enumerate(distinct):
            if token in places and token:
                mapping[i] = places[token]
        mapping[kept] = np.arange(len(rule.special), len(vocabulary))
        known = np.bincount(mapping[: len(distinct)], counts, len(vocabulary))
        return vocabulary, known.astype(np.int64), mapping


class _Writer:
    """Writes one sequence of a split."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._lengths: list[np.ndarray] = []

    def write(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        self._file.write(ids.astype(np.int32).tobytes())
        self._lengths.append(lengths.astype(np.int64))

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
    rows: Iterable[Rows],
    *,
    vocabulary_of: Mapping[str, str],
    rules: Mapping[str, VocabularyRule],
    facts: Mapping[str, Any] | None = None,
    directory: Path,
) -> None:
    """Learn vocabularies from the training rows, and write everything to a new folder.

    Args:
        rows: batches, each of one split.
        vocabulary_of: which vocabulary gives the ids of each sequence; two may share one.
        rules: of each vocabulary.
        facts: JSON values, kept as they are.
        directory: where the vocabularies and the splits are written; must exist and be empty.
    """
    growing = {name: _Vocabulary(rule) for name, rule in rules.items()}
    writers: dict[str, dict[str, _Writer]] = {}
    columns: dict[str, list[Mapping[str, np.ndarray]]] = {}
    for batch in rows:
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
    """Open what `encode` wrote."""
    about = json.loads((directory / "encoded.json").read_text())
    splits = {}
    for split in about["splits"]:
        with np.load(directory / f"{split}.npz") as arrays:
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
