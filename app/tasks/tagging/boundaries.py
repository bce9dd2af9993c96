"""The boundaries of the tokens of a corpus in its raw text, from which a tokenizer is learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.tasks.base import Arrays
from app.tasks.tagging.token_places import token_places
from data.encoding import Encoded, Texts, UniqueTokens

CHARACTERS = "text_characters"
"""Name of the sequence of the visible characters of a text, and of their vocabulary."""
BOUNDARIES = "text_boundaries"
"""Name of the sequence of boundaries, one for each of these characters."""
TEXTS = ("code_points", "text_lengths")
"""Names of the arrays of a batch with the texts."""
FEWEST = 2
"""Occurrences in the training texts of a character in the vocabulary."""
TRAINED_CHARACTERS = 512
"""Mean number of characters of an example in a training batch; the rest of longer texts is left out."""
UNSCORED, NO_BOUNDARY, BOUNDARY = -1, 0, 1
SPACED = 0.1
"""Spaces per token from which on a corpus has spaces between sentences."""

_NAMES = {UNSCORED: b"-", NO_BOUNDARY: b"0", BOUNDARY: b"1"}


def encode_boundaries(texts: Texts, tokens: Sequence[Texts] | np.ndarray) -> dict[str, UniqueTokens]:
    """Return characters and boundaries of examples, as sequences of names.

    Args:
        texts: UTF-8; an empty one has no characters.
        tokens: of each text.
    """
    rows = [
        text_boundaries(text.decode(errors="replace"), [token.decode(errors="replace") for token in own])
        for text, own in zip(texts, tokens, strict=True)
    ]
    lengths = np.array([len(points) for points, _ in rows], np.int64)
    points, places = np.unique(np.concatenate([points for points, _ in rows]), return_inverse=True)
    boundaries = np.concatenate([found for _, found in rows]).astype(np.int64)
    return {
        CHARACTERS: ([chr(point).encode() for point in points], places, lengths),
        BOUNDARIES: (list(_NAMES.values()), boundaries - UNSCORED, lengths),
    }


def text_boundaries(text: str, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the visible characters of a text, and where its tokens end.

    A boundary belongs to a character after which a token ends, if another character follows at once, and to a
    single space that separates tokens. All other characters are not scored, nor are those of a text in which
    a token is not found or a character belongs to no token.

    Args:
        text: any.
        tokens: in their order.

    Returns:
        code points int64 [N], as of `models.text.boundaries.Visible`; boundaries int8 [N], one of `UNSCORED`,
        `NO_BOUNDARY`, `BOUNDARY`.
    """
    from models.text.boundaries import BREAK, SPACE
    from models.text.code_points import (
        BREAK_CLASS,
        INVISIBLE_CLASS,
        JOINER_CLASS,
        SPACE_CLASS,
        code_point_classes,
    )

    places = token_places(text, tokens)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
    owner = np.full(len(points), -1)
    for number, place in enumerate(places):
        if place is not None:
            owner[place[0] : place[1]] = number
    classes = code_point_classes()[points]
    visible = (classes != INVISIBLE_CLASS) & (classes != JOINER_CLASS)
    points, owner = points[visible], owner[visible]
    classes = classes[visible]
    points[classes == SPACE_CLASS] = SPACE
    points[classes == BREAK_CLASS] = BREAK
    is_space = (classes == SPACE_CLASS) | (classes == BREAK_CLASS)
    found = np.full(len(points), UNSCORED, np.int8)
    if None in places or (owner[~is_space] < 0).any():
        return points, found
    space_before = np.append(True, is_space[:-1])
    space_after = np.append(is_space[1:], True)
    inner = ~is_space & ~space_after
    found[inner] = (owner != np.append(owner[1:], -1))[inner]
    single = (classes == SPACE_CLASS) & ~space_before & ~space_after
    found[single] = (owner < 0)[single]
    return points, found


def missing_boundaries(encoded: Encoded) -> str | None:
    """Return a split of which no boundary is known; None if a tokenizer can be learned."""
    for split, rows in encoded.splits.items():
        if BOUNDARIES not in rows.sequences:
            return split
        sequence = rows.sequences[BOUNDARIES]
        values = _values(encoded)
        if not sequence.occurrences(len(values))[values != UNSCORED].any():
            return split
    return None


def alphabet(encoded: Encoded) -> list[bytes]:
    """Return the characters of a tokenizer that is to be learned."""
    counts = encoded.counts[CHARACTERS]
    characters = encoded.vocabularies[CHARACTERS]
    return [character for character, count in zip(characters, counts, strict=True) if count >= FEWEST]


class BoundaryBatches:
    """Characters and boundaries of the examples of a split.

    For training, two of three examples are joined in pairs, so that the end of a sentence is not always the
    end of the text.
    """

    def __init__(self, encoded: Encoded, split: str) -> None:
        """Initialize; the training split is for training."""
        sequences = encoded.splits[split].sequences
        self._characters, self._boundaries = sequences[CHARACTERS], sequences[BOUNDARIES]
        characters = encoded.vocabularies[CHARACTERS]
        self._points = np.array([ord(character.decode()) for character in characters], np.int32)
        self._values = _values(encoded)
        self._is_training = split == "train"
        counts = dict(zip(characters, encoded.counts[CHARACTERS], strict=True))
        tokens = encoded.splits["train"].sequences["word_types"].counts.sum()
        self._is_spaced = counts.get(b" ", 0) > SPACED * tokens

    def arrays(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of examples: those of them that have scored characters.

        Returns:
            `code_points` int32 [N], `boundaries` int8 [N], `text_lengths` int32 [texts].
        """
        rows = [self._row(int(index)) for index in indices]
        rows = [(points, found) for points, found in rows if (found != UNSCORED).any()]
        if self._is_training:
            rows = self._joined(rows, TRAINED_CHARACTERS * len(indices))
        empty: list[np.ndarray] = [np.zeros(0, np.int32)]
        return {
            "code_points": np.concatenate([*empty, *(points for points, _ in rows)]).astype(np.int32),
            "boundaries": np.concatenate([*empty, *(found for _, found in rows)]).astype(np.int8),
            "text_lengths": np.array([len(points) for points, _ in rows], np.int32),
        }

    def _row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._points[self._characters.row(index)], self._values[self._boundaries.row(index)]

    def _joined(
        self, rows: list[tuple[np.ndarray, np.ndarray]], most: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        from models.text.boundaries import SPACE

        joined: list[tuple[np.ndarray, np.ndarray]] = []
        for number, (points, found) in enumerate(rows):
            points, found = points[:most], found[:most].copy()
            most -= len(points)
            if number % 3 == 2 and len(points):
                before, boundaries = joined.pop()
                if self._is_spaced:
                    before, boundaries = np.append(before, SPACE), np.append(boundaries, BOUNDARY)
                else:
                    boundaries[-1] = BOUNDARY
                points, found = np.concatenate([before, points]), np.concatenate([boundaries, found])
            if len(points):
                found[-1] = UNSCORED
                joined.append((points, found))
        return joined


def _values(encoded: Encoded) -> np.ndarray:
    """Return the value of each name of a boundary."""
    by_name = {name: value for value, name in _NAMES.items()}
    return np.array([by_name[name] for name in encoded.vocabularies[BOUNDARIES]], np.int8)


def spans_in_common(gold: np.ndarray, found: np.ndarray) -> int:
    """Return the number of tokens in both of two arrays int64 [tokens, 2], as of `edge_spans`."""
    return len(np.intersect1d(_single(gold), _single(found), assume_unique=True))


def _single(spans: np.ndarray) -> np.ndarray:
    single: np.ndarray = spans[:, 0].astype(np.int64) << 32 | spans[:, 1]
    return single


def rules_spans(batch: Arrays) -> np.ndarray:
    """Return the tokens of `models.text.locate`, for the texts of `BoundaryBatches.arrays`: `TEXTS`.

    Returns:
        int64 [tokens, 2], the first and the last character of each token.
    """
    import tensorflow as tf

    from models.text.locate import locate

    ends = np.cumsum(batch["text_lengths"])[:-1]
    texts = ["".join(map(chr, points)) for points in np.split(batch["code_points"], ends)]
    found = locate(tf.constant(texts if len(batch["text_lengths"]) else [], tf.string))
    before = np.append(0, ends)[found.start.value_rowids().numpy()]
    return np.stack([found.start.values.numpy() + before, found.end.values.numpy() - 1 + before], axis=1)


def edge_spans(edges: np.ndarray) -> np.ndarray:
    """Return tokens by their edges: bool [2, N] → int64 [tokens, 2], the first and the last character."""
    return np.stack([np.flatnonzero(edges[0]), np.flatnonzero(edges[1])], axis=1)
