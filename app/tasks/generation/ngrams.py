"""An interpolated n-gram model with modified Kneser-Ney smoothing, in arrays.

Chen and Goodman (1998), "An empirical study of smoothing techniques for language modeling", section 4.1.6;
lower orders use the numbers of distinct left neighbours, except at the beginning of a document, where there
are none (Heafield et al. 2013). Probabilities are exact: those of all tokens after a context sum to 1.

An n-gram is a number: the place of the pair (number of its first n - 1 tokens, last token) among all such
pairs of the training text. So its size is not limited by the width of an integer, and whole texts are looked
up at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

UNSEEN = -1
"""The number of an n-gram that the training text does not have."""


class Text(NamedTuple):
    """Documents as one array, each after `order - 1` start tokens."""

    tokens: np.ndarray
    """int64 [P]"""
    places: np.ndarray
    """int64 [P]: the place of each token in its document, from 0; negative for start tokens."""

    @property
    def real(self) -> np.ndarray:
        """Whether each token is one of the text, bool [P]; start tokens are not predicted."""
        return self.places >= 0


def text_of(ids: np.ndarray, bounds: np.ndarray, *, order: int, start: int) -> Text:
    """Return documents with start tokens.

    Args:
        ids: int [tokens] of all documents.
        bounds: int [documents + 1], where each document begins, and the end of the last one.
        order: highest order of the models that read the text.
        start: the id of the start token, which no text has.
    """
    lengths = np.diff(bounds)
    padding = order - 1
    ends = np.cumsum(lengths + padding)
    begins = ends - lengths - padding
    places = np.arange(len(ids) + padding * len(lengths)) - np.repeat(begins, lengths + padding) - padding
    tokens = np.full(len(places), start, np.int64)
    tokens[places >= 0] = ids
    return Text(tokens, places)


class _Order:
    """Counts of the n-grams of one order, and the estimate from them."""

    def __init__(self, counts: np.ndarray, contexts: np.ndarray, number_of_contexts: int) -> None:
        """Estimate.

        Args:
            counts: int64 [G], of each n-gram; 0 for those that do not count.
            contexts: int64 [G], the number of each n-gram's first n - 1 tokens.
            number_of_contexts: how many there are.
        """
        self.discounts = _discounts(counts)
        of_ngram = self.discounts[np.minimum(counts, 3)]
        self.discounted = counts - of_ngram
        self.totals = np.bincount(contexts, counts, number_of_contexts)
        self.left = np.bincount(contexts, of_ngram, number_of_contexts)

    def probabilities(self, ngrams: np.ndarray, contexts: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Return the probability of the last token of each n-gram after its context: float64 [P].

        Args:
            ngrams: int64 [P], numbers of n-grams, or `UNSEEN`.
            contexts: int64 [P], numbers of their contexts, or `UNSEEN`.
            lower: float64 [P], the probabilities of the order below.
        """
        totals = np.where(contexts == UNSEEN, 0, self.totals[contexts])
        share = np.where(ngrams == UNSEEN, 0, self.discounted[ngrams])
        return np.where(totals > 0, (share + self.left[contexts] * lower) / np.maximum(totals, 1), lower)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Return what is subtracted from counts of 0, 1, 2, and 3 or more (Chen and Goodman, equation 26).

    Where few n-grams are rare, as with unigrams of characters, the formula has no value: then the discounts
    are those that KenLM falls back to.
    """
    of_counts = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    n1, n2, n3, n4 = of_counts[1:5]
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if np.all((found >= 0) & (found <= np.arange(4))):
            return found
    return np.array([0, 0.5, 1.0, 1.5])


def orders(
    train: Text, texts: list[Text], *, start: int, possible: int, highest: int
) -> Iterator[list[np.ndarray]]:
    """Yield the probabilities of the tokens of texts under models of order 1, 2, …, `highest`.

    Tokens that the training text does not have share what unigrams leave with all others, evenly.

    Args:
        train: to learn from, with start tokens for `highest`.
        texts: likewise.
        start: the id of the start token, which is higher than all others.
        possible: number of tokens that a text may have, over which probabilities sum to 1.
        highest: order.

    Yields:
        for each text float64 [tokens without start tokens].
    """
    every = [train, *texts]
    size = start + 1
    numbers = [np.zeros(len(text.tokens), np.int64) for text in every]  # of no tokens
    lower = [np.full(len(text.tokens), 1 / possible) for text in texts]
    number_of_contexts = 1
    for order in range(1, highest + 1):
        contexts = [np.concatenate([own[:1], own[:-1]]) for own in numbers]
        pairs = [
            np.where(context == UNSEEN, UNSEEN, context * size + text.tokens)
            for context, text in zip(contexts, every, strict=True)
        ]
        known, first, of_train = np.unique(pairs[0], return_index=True, return_inverse=True)
        numbers = [of_train, *(_looked_up(own, known) for own in pairs[1:])]
        raw = np.bincount(of_train[train.real], minlength=len(known))
        context_of = contexts[0][first]
        begins = (train.places[first] < order - 1) & train.real[first]
        here = zip(numbers[1:], contexts[1:], lower, strict=True)
        highest_order = _Order(raw, context_of, number_of_contexts)
        yield [highest_order.probabilities(*own)[text.real] for own, text in zip(here, texts, strict=True)]
        if order == highest:
            return
        real = np.flatnonzero(train.real)
        with_neighbour = of_train[real] * size + train.tokens[real - order]
        continued = np.bincount(np.unique(with_neighbour) // size, minlength=len(known))
        below = _Order(np.where(begins, raw, continued), context_of, number_of_contexts)
        here = zip(numbers[1:], contexts[1:], lower, strict=True)
        lower = [below.probabilities(*own) for own in here]
        number_of_contexts = len(known)


def _looked_up(pairs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the places of pairs in the sorted array of known ones, or `UNSEEN`."""
    places = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    return np.where(known[places] == pairs, places, UNSEEN)
