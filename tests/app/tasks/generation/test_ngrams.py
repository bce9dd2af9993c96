"""The n-gram model: exact probabilities, against a computation with dictionaries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from app.tasks.generation.ngrams import orders, text_of

HIGHEST = 4
START = 6
DOCUMENTS = [[0, 1, 2, 1, 0, 1, 2, 3], [0, 1, 3], [2], [0, 1, 2, 1, 4, 4, 4, 0, 1]]
"""Five of six tokens; 5 does not occur."""
QUERIES = [[0, 1, 2], [5, 0, 1], [4, 4], [0, 5, 5, 1, 2, 1]]


def probabilities(
    documents: Sequence[Sequence[int]], queries: Sequence[Sequence[int]]
) -> list[list[np.ndarray]]:
    """Return the probabilities of each query under the models of each order."""
    padded = []
    for texts in (documents, queries):
        bounds = np.cumsum([0, *map(len, texts)])
        padded.append(text_of(np.concatenate([*texts]), bounds, order=HIGHEST, start=START))
    found = orders(padded[0], padded[1:], start=START, possible=START, highest=HIGHEST)
    ends = np.cumsum([len(query) for query in queries])[:-1]
    return [np.split(own, ends) for (own,) in found]


def expected(documents: Sequence[Sequence[int]], query: Sequence[int], order: int) -> list[float]:
    """Return the probabilities of a query, by the formulas of the paper, one token after the other."""
    grams: dict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    left: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for document in documents:
        tokens = [START] * HIGHEST + list(document)
        for end in range(HIGHEST, len(tokens)):
            for n in range(1, order + 1):
                gram = tuple(tokens[end - n + 1 : end + 1])
                grams[n][gram] += 1
                left[gram].add(tokens[end - n])

    def counts(n: int) -> dict[tuple[int, ...], int]:
        return {
            gram: count if n == order or gram[0] == START else len(left[gram])
            for gram, count in grams[n].items()
        }

    def discount(n: int, count: int) -> float:
        of_counts = Counter(counts(n).values())
        n1, n2, n3, n4 = (of_counts[i] for i in (1, 2, 3, 4))
        if min(n1, n2, n3, n4):
            y = n1 / (n1 + 2 * n2)
            found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if all(0 <= value <= i for i, value in enumerate(found, 1)):
                return found[min(count, 3) - 1]
        return (0.5, 1.0, 1.5)[min(count, 3) - 1]

    def probability(context: tuple[int, ...], token: int) -> float:
        n = len(context) + 1
        if n == 1 and not counts(1):
            return 1 / START
        lower = probability(context[1:], token) if context else 1 / START
        own = {gram[-1]: count for gram, count in counts(n).items() if gram[:-1] == context}
        if not own:
            return lower
        total = sum(own.values())
        kept = own[token] - discount(n, own[token]) if token in own else 0
        return (kept + sum(discount(n, count) for count in own.values()) * lower) / total

    tokens = [START] * HIGHEST + list(query)
    return [
        probability(tuple(tokens[end - order + 1 : end]), tokens[end]) for end in range(HIGHEST, len(tokens))
    ]


@pytest.mark.parametrize("order", range(1, HIGHEST + 1))
def test_probabilities(order: int) -> None:
    """Probabilities are those of the formulas: of known and unknown tokens, contexts and beginnings."""
    found = probabilities(DOCUMENTS, QUERIES)[order - 1]

    for query, own in zip(QUERIES, found, strict=True):
        assert own == pytest.approx(expected(DOCUMENTS, query, order), rel=1e-12)


@pytest.mark.parametrize("context", [[], [0], [0, 1], [0, 1, 2], [5], [4, 4], [3, 0, 5, 1]], ids=str)
def test_they_sum_to_one(context: list[int]) -> None:
    """After any context the probabilities of all tokens sum to 1, under each order."""
    for found in probabilities(DOCUMENTS, [[*context, token] for token in range(START)]):
        assert sum(own[-1] for own in found) == pytest.approx(1, abs=1e-12)
        assert all(own[-1] > 0 for own in found)


def test_discounts_from_counts() -> None:
    """With enough rare n-grams the discounts are those of the formula; probabilities still sum to 1."""
    random = np.random.default_rng(0)
    documents = [list(np.minimum(random.geometric(0.35, 30) - 1, 5)) for _ in range(12)]

    for order, found in enumerate(probabilities(documents, [[0, 1, token] for token in range(START)]), 1):
        assert sum(own[-1] for own in found) == pytest.approx(1, abs=1e-12)
        assert [own[-1] for own in found] == pytest.approx(
            [expected(documents, [0, 1, token], order)[-1] for token in range(START)], rel=1e-12
        )


def test_documents_do_not_touch() -> None:
    """The end of one document is no context of the next one."""
    together = probabilities(DOCUMENTS, [[0, 1], [2, 1]])[-1]
    apart = [probabilities(DOCUMENTS, [query])[-1][0] for query in ([0, 1], [2, 1])]

    for one, other in zip(together, apart, strict=True):
        assert one == pytest.approx(other, rel=1e-12)
