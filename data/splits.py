"""Splits: which examples a model is trained on, validated on and tested on.

- A file that is named after a split is that split.
- A single file or a single set of files is divided into all three splits.
- If there is no validation split, a share of the training examples is held out.

Records are divided by a hash of the first field (the text, the tokens or the source), so that copies of a
text are in one split, whatever their labels. One text is divided by position.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from data.errors import UserError
from data.formats import Value

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {
    "training": "train",
    "valid": "validation",
    "dev": "validation",
    "val": "validation",
    "testing": "test",
}
ALL_SPLITS = "all"
"""Name of the only part of examples without splits, which the program divides."""
TRAINING_SPLITS = ("train", "validation")
_HASHED = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
Mode = Literal["hash", "random", "stratified"]
Shares = Sequence[tuple[str, float]]
"""Splits and their shares, which sum to 1."""


@dataclass(frozen=True)
class Splitting:
    """How examples that have no split get one."""

    mode: Mode = "hash"
    """`hash`: by the text alone; `random`: by the text and the seed; `stratified`: with the same share of
    each label in every split. Examples with the same text are in one split."""
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    @property
    def key(self) -> int | None:
        """What the hash of a text depends on besides the text."""
        return self.seed if self.mode == "random" else None

    def identity(self) -> list[Any]:
        """Return all that decides the splits of given examples."""
        return [self.mode, self.validation, self.test, self.key]

    def shares(self, parts: Collection[str]) -> dict[str, Shares]:
        """Return the part that is divided, and the shares of its splits; empty: all splits are given.

        Raises:
            UserError: nothing would be left for training.
        """
        if ALL_SPLITS in parts:
            if self.validation + self.test >= 1:
                raise UserError(
                    f"data.validation_fraction = {self.validation} and data.test_fraction = {self.test}: "
                    "nothing is left for training; expected a sum of less than 1"
                )
            train = round(1 - self.validation - self.test, 12)
            return {ALL_SPLITS: (("train", train), ("validation", self.validation), ("test", self.test))}
        if "train" in parts and "validation" not in parts:
            return {"train": (("validation", self.validation), ("train", 1 - self.validation))}
        return {}

    def describe(self, parts: Collection[str], *, by_position: bool = False) -> str:
        """Return a sentence about the examples that get a split, or an empty one if all splits are given."""
        how = {
            "hash": "by the hash of each text",
            "random": f"by the hash of each text and the seed {self.seed}",
            "stratified": "with the same share of each label",
        }[self.mode]
        how = "by position" if by_position else how
        for part, shares in self.shares(parts).items():
            if part == ALL_SPLITS:
                listed = ", ".join(
                    f"{share:.1%} {name}".replace(".0%", "%") for name, share in shares if share
                )
                return f"splits: {listed}, {how}"
            return f"splits: {self.validation:.1%} of train is validation, {how}".replace(".0%", "%")
        return ""


def split_codes(hashes: np.ndarray, shares: Shares) -> np.ndarray:
    """Return the splits of rows, by their hashes alone, so that rows of equal hash stay together.

    Args:
        hashes: uint64 [rows], from `row_hash`.
        shares: splits and their shares, which sum to 1.

    Returns:
        positions in `SPLITS`: uint8 [rows].
    """
    position = hashes.astype(np.float64) / 2.0**64
    codes = np.full(len(position), SPLITS.index(shares[-1][0]), np.uint8)
    waiting = np.ones(len(position), bool)
    for name, share in shares:
        own = waiting & (position < share)
        codes[own] = SPLITS.index(name)
        waiting &= ~own
        position -= share
    return codes


def split_of(row_hash: int, shares: Shares) -> str:
    """Return the split of one row by its hash, as `split_codes` does."""
    return SPLITS[split_codes(np.array([row_hash], np.uint64), shares)[0]]


def row_hash(values: Mapping[str, Value], key: int | None = None) -> int:
    """Return 64 bits of a row's content, the same on every machine; another key gives other bits."""
    content = _HASHED.encode(values).encode()
    secret = b"" if key is None else str(key).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=secret).digest(), "big")
