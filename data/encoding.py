"""Texts as token ids on disk: each text is cut into tokens once for a run, not once an epoch.

Tokens get provisional ids in the order of their first appearance while their text is read; once the
vocabulary is known, the ids are mapped to it. Neither the texts nor the ids are ever wholly in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.vocabulary import most_frequent, read_vocabulary, write_vocabulary

Texts = Sequence[bytes] | np.ndarray
"""UTF-8, as a list or as an array of objects."""
UniqueTokens = tuple[Sequence[bytes], np.ndarray, np.ndarray]
"""Distinct tokens of a batch; int [tokens] a position among them for each token; int [rows] lengths."""

_CHUNK = 1 << 22


class EncodedSplit:
    """The token ids and targets of one split, read row by row from a file."""

    def __init__(self, path: Path, dtype: np.dtype, lengths: np.ndarray, targets: np.ndarray) -> None:
        """Opens the split.

        Args:
            path: the ids of all rows behind one another.
            dtype: of an id in the file.
            lengths: int64 [rows], tokens of each row; may be 0.
            targets: [rows], what is to be learned of each row.
        """
        self._file = path.open("rb")
        self._dtype = dtype
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self.lengths = np.maximum(lengths, 1)
        """int64 [rows]; at least 1: a text without tokens is one step of padding."""
        self.targets = targets

    def __len__(self) -> int:
        """Rows."""
        return len(self.lengths)

    def row(self, index: int) -> np.ndarray:
        """The token ids of a row, as they stand in the file: [tokens]."""
        size = self._dtype.itemsize
        first, end = int(self._starts[index]), int(self._starts[index + 1])
        raw = os.pread(self._file.fileno(), (end - first) * size, first * size)
        return np.frombuffer(raw, self._dtype)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows side by side: indices int64 [B].

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
class Encoded:
    """A dataset as its model sees it."""

    vocabulary: list[bytes]
    splits: dict[str, EncodedSplit]
    counts: np.ndarray
    """int64 [vocabulary]: how often each token stands in the training split; id 1: all unknown ones."""


class _SplitWriter:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._lengths: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def write(self, ids: np.ndarray, lengths: np.ndarray, targets: np.ndarray) -> None:
        self._file.write(ids.astype(np.int32).tobytes())
        self._lengths.append(lengths.astype(np.int64))
        self._targets.append(targets)

    def close(self) -> None:
        self._file.close()
        empty = [np.zeros(0, np.int64)]
        np.savez(
            self.path.with_suffix(".npz"),
            lengths=np.concatenate(self._lengths or empty),
            targets=np.concatenate(self._targets or empty),
        )


def _remap(path: Path, mapping: np.ndarray) -> None:
    """Replaces each id of a file by its place in `mapping`, a piece at a time."""
    mapped = path.with_suffix(".mapped")
    with path.open("rb") as source, mapped.open("wb") as target:
        while len(ids := np.fromfile(source, np.int32, _CHUNK)):
            mapping[ids].tofile(target)
    mapped.replace(path)


def encode(
    rows: Iterable[tuple[str, Texts, np.ndarray]],
    *,
    unique_tokens: Callable[[Texts], UniqueTokens],
    special: Sequence[bytes],
    unknown_id: int,
    most: int,
    min_count: int,
    directory: Path,
) -> None:
    """Cuts texts into tokens, learns the vocabulary from `train` and writes everything to a new folder.

    Args:
        rows: batches of (split, texts, targets).
        unique_tokens: the distinct tokens of texts, as `UniqueTokens`.
        special: the first tokens of every vocabulary.
        unknown_id: what a token outside the vocabulary becomes.
        most: the vocabulary's size, the special tokens included.
        min_count: tokens rarer than this are unknown.
        directory: where `vocabulary.txt` and the splits are written; must exist and be empty.
    """
    provisional: dict[bytes, int] = {}
    counts = np.zeros(1024, np.int64)
    writers: dict[str, _SplitWriter] = {}
    for split, texts, targets in rows:
        if split not in writers:
            writers[split] = _SplitWriter(directory / f"{split}.ids")
        tokens, positions, lengths = unique_tokens(texts)
        ids = np.fromiter(
            (provisional.setdefault(token, len(provisional)) for token in tokens), np.int64, len(tokens)
        )
        if len(provisional) > len(counts):
            counts = np.pad(counts, (0, max(len(counts), len(provisional) - len(counts))))
        if split == "train":
            counts[ids] += np.bincount(positions, minlength=len(tokens))
        writers[split].write(ids[positions], lengths, targets)
    for writer in writers.values():
        writer.close()

    distinct = list(provisional)
    kept = most_frequent(distinct, counts, most=most - len(special), min_count=min_count)
    kept = np.array([i for i in kept if distinct[i] not in special], np.int64)
    vocabulary = [*special, *(distinct[i] for i in kept)]
    dtype = np.dtype(np.uint16 if len(vocabulary) <= 1 << 16 else np.int32)
    mapping = np.full(max(len(distinct), 1), unknown_id, dtype)
    mapping[kept] = np.arange(len(special), len(vocabulary))
    for writer in writers.values():
        _remap(writer.path, mapping)
    write_vocabulary(directory / "vocabulary.txt", vocabulary)
    known = np.zeros(len(vocabulary), np.int64)
    known[len(special) :] = counts[kept]
    known[unknown_id] = counts.sum() - known.sum()
    np.save(directory / "counts.npy", known)
    about = {"dtype": dtype.name, "splits": list(writers)}
    (directory / "encoded.json").write_text(json.dumps(about))


def load_encoded(directory: Path) -> Encoded:
    """Opens what `encode` wrote."""
    about = json.loads((directory / "encoded.json").read_text())
    splits = {}
    for split in about["splits"]:
        with np.load(directory / f"{split}.npz") as arrays:
            splits[split] = EncodedSplit(
                directory / f"{split}.ids", np.dtype(about["dtype"]), arrays["lengths"], arrays["targets"]
            )
    vocabulary = read_vocabulary(directory / "vocabulary.txt")
    return Encoded(vocabulary, splits, np.load(directory / "counts.npy"))
