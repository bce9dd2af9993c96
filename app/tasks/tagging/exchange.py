"""Spans of training examples, exchanged for others of the same label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.encoding import Sequences
from data.tags import Span, spans


class Value(NamedTuple):
    """The tokens of a span."""

    word_types: tuple[int, ...]
    tags: tuple[int, ...]


class SpanExchange:
    """Replaces spans of training examples by the tokens of other training spans of the same label.

    It is the mention replacement of Dai and Adel (2020), with each distinct value equally likely.
    """

    def __init__(
        self, word_types: Sequences, tags: Sequences, names: Sequence[str], probability: float
    ) -> None:
        """Collect the values of each label.

        Args:
            word_types: of the training examples.
            tags: of the training examples, in BIO.
            names: of the tags, by id.
            probability: that a span is replaced.
        """
        self._word_types, self._tags = word_types, tags
        self._names, self._probability = names, probability
        distinct: dict[str, dict[Value, None]] = defaultdict(dict)
        for row in range(len(tags)):
            types, ids = word_types.row(row), tags.row(row)
            for span in self._spans(ids):
                distinct[span.label][_value(types, ids, span)] = None
        self._values = {label: list(values) for label, values in distinct.items()}

    def rows(self, indices: np.ndarray, seed: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the word types and tags of examples, int32 [tokens] each, which depend on no other example.

        Each distinct value of a label is equally likely, also the one that is replaced.

        Args:
            indices: int64 [B], of the examples.
            seed: of an epoch.
        """
        return [self._row(int(index), np.random.default_rng([*seed, int(index)])) for index in indices]

    def _row(self, index: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        types, ids = self._word_types.row(index), self._tags.row(index)
        found_types: list[np.ndarray] = []
        found_tags: list[np.ndarray] = []
        end = 0
        for span in self._spans(ids):
            if random.random() >= self._probability:
                continue
            values = self._values[span.label]
            value = values[random.integers(len(values))]
            found_types += [types[end : span.start], np.array(value.word_types)]
            found_tags += [ids[end : span.start], np.array(value.tags)]
            end = span.end
        return (
            np.concatenate([*found_types, types[end:]]).astype(np.int32),
            np.concatenate([*found_tags, ids[end:]]).astype(np.int32),
        )

    def _spans(self, tags: np.ndarray) -> list[Span]:
        return spans([self._names[tag] for tag in tags])


def _value(types: np.ndarray, tags: np.ndarray, span: Span) -> Value:
    return Value(*(tuple(part[span.start : span.end].tolist()) for part in (types, tags)))
