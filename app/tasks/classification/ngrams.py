"""The linear model beside a recurrent classifier: its n-grams, and its weights.

They are computed from the training examples before the first step. The weights are those of a regularized
logistic regression: a convex problem, which needs no training by gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.linear import fit_classes, fit_labels, most_frequent
from data.batching import ExampleBatches
from data.encoding import Sequences
from data.excerpts import evenly

if TYPE_CHECKING:
    from models.classifier import Classifier

FEWEST_TEXTS = 2
"""An n-gram of two words or more must occur in so many training texts."""
MOST_EXAMPLES = 100_000
"""The linear model is fitted to training examples in memory: of more, to so many, evenly spaced."""
MOST_TOKENS = 2**23
"""Most tokens of these examples."""
MOST_TARGETS = 2**25
"""Most training examples × labels that it is fitted to, if there are several labels."""
ROWS_AT_ONCE = 1024
"""Number of texts whose character n-grams are computed at once."""
MOST_WEIGHTS = 2**24
"""Most n-grams × classes."""
INVERSE_REGULARIZATION = 10.0
"""`C` of scikit-learn."""


def number_of_ngrams(tokens: Sequences, vocabulary_size: int, classes: int, longest: int, most: int) -> int:
    """Return how many n-grams of two words or more a model needs.

    Args:
        tokens: of the training examples.
        vocabulary_size: number of token ids.
        classes: number of classes or labels.
        longest: tokens of the longest n-gram.
        most: maximum number of n-grams.
    """
    if longest < 2:
        return 0
    rows = _some(tokens.counts, MOST_EXAMPLES)
    lengths = tokens.counts[rows]
    ids = np.concatenate([np.empty(0, np.int64), *(tokens.row(row) for row in rows.tolist())])
    return len(_frequent(ids, lengths, vocabulary_size, longest, _most(most, classes)))


def fit_ngrams(
    model: Classifier,
    batches: ExampleBatches,
    rows: np.ndarray,
    preprocessing: Preprocessing[ClassificationFacts],
    config: ClassificationConfig,
) -> None:
    """Fill the layer `ngrams` of a classifier.

    Its features are words, n-grams and, in `x @ W`, the character n-grams of each word of the vocabulary
    (Bojanowski et al. 2017, "Enriching word vectors with subword information"): the weight of a word is the
    sum of its own and those of its character n-grams. So rare words learn from words of similar form, and
    the network needs no characters.

    Args:
        model: with n-grams.
        batches: of the training examples.
        rows: of `fitted_to`.
        preprocessing: of the model.
        config: of the run.
    """
    assert model.ngrams is not None
    size, several = len(preprocessing.vocabulary), model.several_labels
    ids, lengths, targets, weights = _examples(batches, rows)
    keys = _frequent(ids, lengths, size, model.settings.ngrams, model.ngrams.entries)
    counts = _counts(ids, lengths, keys, size, model.settings.ngrams)
    del ids
    scale = _scale(counts, targets if model.classes == 2 and not several else None)
    of_words = _character_ngrams(preprocessing.vocabulary, _lengths(config.model.character_ngrams))
    features = _weighted(counts, scale)
    del counts
    whole = _with_character_ngrams(features, of_words)
    del features
    strength = INVERSE_REGULARIZATION
    if several:
        table, bias = fit_labels(whole, targets, weights=weights, inverse_regularization=strength)
    else:
        table, bias = fit_classes(
            whole, targets, model.classes, weights=weights, inverse_regularization=strength
        )
    own = table[: size + len(keys)]
    if of_words is not None:
        own[:size] += of_words @ table[size + len(keys) :]
    model.ngrams.fill(keys, scale, own, bias)


def fitted_to(model: Classifier, lengths: np.ndarray) -> np.ndarray:
    """Return the training examples that the linear model is fitted to, evenly spaced: int64.

    Args:
        model: with n-grams.
        lengths: int [N], tokens of each training example.
    """
    most = MOST_TARGETS // model.classes if model.several_labels else MOST_EXAMPLES
    return _some(lengths, min(most, MOST_EXAMPLES))


def _some(lengths: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many examples, evenly spaced, of about `MOST_TOKENS` at most: int64."""
    of_tokens = int(len(lengths) * MOST_TOKENS / max(int(lengths.sum()), 1))
    return evenly(len(lengths), max(min(most, of_tokens), 1))


def _examples(batches: ExampleBatches, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return ids [tokens] and lengths [N] of training examples, and their targets and weights [N, …]."""
    found = [batches.batch(part).arrays for part in np.array_split(rows, len(rows) // 1024 + 1)]
    lengths = np.concatenate([arrays["lengths"] for arrays in found])
    ids = [arrays["ids"][np.arange(arrays["ids"].shape[1]) < arrays["lengths"][:, None]] for arrays in found]
    targets, weights = (np.concatenate([arrays[name] for arrays in found]) for name in ("targets", "weights"))
    return np.concatenate(ids), lengths, targets, weights


def _most(most: int, classes: int) -> int:
    return max(min(most, MOST_WEIGHTS // classes), 1)


def _frequent(
    ids: np.ndarray, lengths: np.ndarray, vocabulary_size: int, longest: int, most: int
) -> np.ndarray:
    """Return the keys of the n-grams that occur in most texts, ascending: int64 [at most `most`]."""
    from models.layers.ngrams import ngram_keys

    texts = np.repeat(np.arange(len(lengths)), lengths)
    found, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for length in range(2, longest + 1):
        keys = ngram_keys(ids, lengths, length, vocabulary_size)
        order = np.lexsort([texts, keys])
        keys, of_text = keys[order], texts[order]
        is_first = np.ones(len(keys), bool)  # of its text
        is_first[1:] = (keys[1:] != keys[:-1]) | (of_text[1:] != of_text[:-1])
        distinct, number = np.unique(keys[is_first], return_counts=True)
        kept = (number >= FEWEST_TEXTS) & (distinct != -1)
        found.append(distinct[kept])
        numbers.append(number[kept])
    keys, index = np.unique(np.concatenate(found), return_index=True)
    return most_frequent(keys, np.concatenate(numbers)[index], most)


def _counts(
    ids: np.ndarray, lengths: np.ndarray, keys: np.ndarray, vocabulary_size: int, longest: int
) -> Any:
    """Return how often each word and n-gram occurs in each text: CSR float64 [texts, vocabulary + keys]."""
    from scipy import sparse

    from models.layers.ngrams import ngram_keys
    from models.text.tokens import UNKNOWN_ID

    texts = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    is_word = ids > UNKNOWN_ID
    rows, columns = [texts[is_word]], [ids[is_word].astype(np.int32)]
    for length in range(2, longest + 1 if len(keys) else 2):
        own = ngram_keys(ids, lengths, length, vocabulary_size)
        places = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
        known = keys[places] == own
        rows.append(texts[known])
        columns.append((vocabulary_size + places[known]).astype(np.int32))
        del own, places, known
    place = np.concatenate(rows), np.concatenate(columns)
    shape = len(lengths), vocabulary_size + len(keys)
    return sparse.coo_array((np.ones(len(place[0])), place), shape).tocsr()  # which adds duplicates


def _scale(counts: Any, targets: np.ndarray | None) -> np.ndarray:
    """Return the scale of each feature: its inverse document frequency; of two classes times more.

    That is the square root of the absolute naive-Bayes log-count ratio of the classes (Wang and Manning 2012,
    equation 1, with the binary features that they recommend).

    Args:
        counts: CSR [texts, features].
        targets: int [texts], 0 or 1; None: there are other than two classes.
    """
    present = counts > 0
    texts = np.asarray(present.sum(axis=0)).ravel()
    frequency: np.ndarray = np.log((1 + counts.shape[0]) / (1 + texts)) + 1
    if targets is None:
        return frequency
    first, second = (1 + np.asarray(present[targets == own].sum(axis=0)).ravel() for own in (0, 1))
    ratio = np.log(second / second.sum()) - np.log(first / first.sum())
    return np.asarray(frequency * np.sqrt(np.abs(ratio)))


def _weighted(counts: Any, scale: np.ndarray) -> Any:
    """Return the features of texts: the logarithms of counts, scaled, in rows of norm 1; `counts` change."""
    from scipy import sparse

    counts.data = 1 + np.log(counts.data)
    return _unit_rows(counts @ sparse.diags_array(scale))


def _with_character_ngrams(features: Any, of_words: Any) -> Any:
    """Return the features of texts, and after them those of the character n-grams of their words.

    The result is written in place, some rows at a time: the character n-grams are most of what is in memory.
    They are computed twice, first to know their number.

    Args:
        features: CSR [texts, features], the words first.
        of_words: CSR [words, n-grams], or None.
    """
    from scipy import sparse

    if of_words is None:
        return features
    words, ngrams = of_words.shape

    def parts() -> Iterator[tuple[Any, Any]]:
        for first in range(0, features.shape[0], ROWS_AT_ONCE):
            own = features[first : first + ROWS_AT_ONCE]
            yield own, own[:, :words] @ of_words

    lengths = [np.diff(own.indptr) + np.diff(more.indptr) for own, more in parts()]
    ends = np.cumsum(np.concatenate([[0], *lengths]))
    data, indices = np.empty(ends[-1]), np.empty(ends[-1], np.int32)
    done = 0
    for pair in parts():
        part = sparse.hstack(pair, format="csr")
        data[done : done + part.nnz], indices[done : done + part.nnz] = part.data, part.indices
        done += part.nnz
    return sparse.csr_array((data, indices, ends), (features.shape[0], features.shape[1] + ngrams))


def _lengths(text: str) -> range | None:
    """Return the lengths that `model.character_ngrams` gives, such as 3-5."""
    if not text:
        return None
    shortest, _, longest = text.partition("-")
    return range(int(shortest), int(longest or shortest) + 1)


def _character_ngrams(vocabulary: Any, lengths: range | None) -> Any:
    """Return the weighted character n-grams of each word, with boundary marks: CSR [vocabulary, n-grams].

    Rows have a norm of 1. An n-gram that only one word has tells nothing that the word does not.
    """
    from scipy import sparse

    from models.text.tokens import SPECIAL_TOKENS

    if lengths is None:
        return None
    numbers: dict[str, int] = {}
    rows, columns = [], []
    for token, word in enumerate(vocabulary):
        marked = "" if token < len(SPECIAL_TOKENS) else f"<{word.decode(errors='replace')}>"
        for length in lengths:
            for start in range(len(marked) - length + 1):
                rows.append(token)
                columns.append(numbers.setdefault(marked[start : start + length], len(numbers)))
    shape = len(vocabulary), len(numbers)
    found = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape).tocsr()
    words = np.asarray((found > 0).sum(axis=0)).ravel()
    shared = np.flatnonzero(words > 1)
    if not len(shared):
        return None
    return _unit_rows(found[:, shared] @ sparse.diags_array(np.log(len(vocabulary) / words[shared])))


def _unit_rows(matrix: Any) -> Any:
    """Return a matrix whose rows have a Euclidean norm of 1, or 0; a CSR matrix is changed itself."""
    from sklearn.preprocessing import normalize

    return normalize(matrix.tocsr(), copy=False)
