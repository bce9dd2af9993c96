"""A random Markov chain whose texts and scores are also computed in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[Any]

PADDING, END = 0, 1
VOCABULARY = 7
SOURCE = 3  # positions that a step looks at


class Chain:
    """A random second-order Markov chain with attention to a source.

    Its state is the token before the last one and the attention so far,
    so that a state in the wrong row changes the result.
    """

    def __init__(self, seed: int, vocabulary: int = VOCABULARY, scale: float = 1.5) -> None:
        generator = np.random.default_rng(seed)
        self.seed = seed
        self.table = generator.normal(scale=scale, size=(vocabulary, vocabulary, vocabulary))
        self.attention = generator.dirichlet(np.full(SOURCE, 0.5), size=vocabulary)

    def start(self, rows: int) -> tuple[tf.Tensor, dict[str, Any]]:
        """Return logits and state of the first step; row i follows the tokens (i, 0)."""
        first = np.arange(rows) % len(self.table)
        logits = tf.constant(self.table[first, 0], tf.float32)
        return logits, {"before": tf.zeros([rows], tf.int32), "seen": (self.looks(np.zeros(rows, int)),)}

    def looks(self, token_ids: Any) -> tf.Tensor:
        return tf.gather(tf.constant(self.attention, tf.float32), token_ids)

    def step(self, token_ids: tf.Tensor, state: dict[str, Any]) -> tuple[tf.Tensor, dict[str, Any]]:
        logits = tf.gather_nd(
            tf.constant(self.table, tf.float32), tf.stack([state["before"], token_ids], axis=1)
        )
        return logits, {"before": token_ids, "seen": (state["seen"][0] + self.looks(token_ids),)}

    @staticmethod
    def coverage(state: dict[str, Any]) -> tf.Tensor:
        return state["seen"][0]

    def logits(self, row: int, emitted: tuple[int, ...]) -> Array:
        """Return the logits of the next token in NumPy: float [V]."""
        if not emitted:
            return self.table[row % len(self.table), 0]
        return self.table[(0, *emitted)[-2], emitted[-1]]

    def log_p(self, row: int, emitted: tuple[int, ...]) -> Array:
        logits = self.logits(row, emitted)
        return logits - np.log(np.sum(np.exp(logits)))

    def score(self, row: int, text: tuple[int, ...], alpha: float, beta: float) -> float:
        """Return the score of a text, including its end token."""
        log_p = sum(self.log_p(row, text[:i])[token] for i, token in enumerate(text))
        covered = self.attention[0] + sum(self.attention[token] for token in text[:-1])
        lasting = ((5 + len(text)) / 6) ** alpha
        return log_p / lasting + beta * float(np.sum(np.log(np.minimum(covered, 1))))


def texts(ids: Array, lengths: Array) -> list[tuple[int, ...]]:
    return [tuple(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]


def greedy(
    chain: Chain, row: int, length: int, forbidden: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], float]:
    """Return a greedy text without its end token, and its log p including the end token."""
    text: tuple[int, ...] = ()
    total = 0.0
    while len(text) < length:
        logits = chain.logits(row, text).copy()
        logits[list(forbidden)] = -np.inf
        token = int(np.argmax(logits))
        total += chain.log_p(row, text)[token]
        if token == END:
            break
        text = (*text, token)
    return text, total
