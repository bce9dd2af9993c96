"""The linear model beside a tagger: the features of its tokens, and their weights.

They are computed from the training examples before the first step. The weights are those of a regularized
logistic regression of each token's tag: a convex problem, which needs no training by gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.tasks.linear import fit_classes, most_frequent
from data.batching import Batches, ExampleBatches
from data.encoding import Sequences
from data.excerpts import evenly

if TYPE_CHECKING:
    from models.tagger import Tagger

FEWEST_TOKENS = 2
"""A feature must belong to so many training tokens."""
MOST_TOKENS = 400_000
"""The linear model is fitted to training tokens in memory: of more, to about so many, in sentences that are
evenly spaced."""
MOST_WEIGHTS = 2**22
"""Most features × tags: the solver keeps two dozen copies of the weights."""
INVERSE_REGULARIZATION = 1.0
"""`C` of scikit-learn."""
MOST_ITERATIONS = 60
TOLERANCE = 1e-3


def number_of_features(features: np.ndarray, word_types: Sequences, tags: int, most: int) -> int:
    """Return how many features a model needs.

    Args:
        features: int32 [types, F], of `models.text.word_features.word_features`.
        word_types: of the tokens of the training examples.
        tags: number of tags.
        most: maximum number of features.
    """
    rows = _rows(word_types.counts)
    ids = np.concatenate([np.empty(0, np.int64), *(word_types.row(row) for row in rows.tolist())])
    return len(_frequent(_keys(features, ids, word_types.counts[rows]), _most(most, tags)))


def fit_features(model: Tagger, batches: Batches) -> None:
    """Fill the layer `token_features` of a tagger.

    Args:
        model: with features of tokens.
        batches: of the training examples.
    """
    from scipy import sparse

    assert isinstance(batches, ExampleBatches)
    assert model.token_features is not None
    layer = model.token_features
    rows = _rows(batches.lengths)
    keys, tags = [], []
    for part in np.array_split(rows, len(rows) // 1024 + 1):
        arrays = batches.batch(part).arrays
        lengths = arrays["lengths"]
        real = np.arange(arrays["tags"].shape[1]) < lengths[:, None]
        keys.append(_keys(arrays["word_features"], arrays["word_types"][real], lengths))
        tags.append(np.asarray(model.learned_tags(arrays["tags"], lengths))[real])
    all_keys = np.concatenate(keys)
    known = _frequent(all_keys, layer.entries)
    if not len(known):
        return
    places = np.minimum(np.searchsorted(known, all_keys), len(known) - 1)
    is_known = known[places] == all_keys
    ends = np.concatenate([[0], np.cumsum(is_known.sum(axis=1))])
    shape = len(all_keys), len(known)
    counts = sparse.csr_array((np.ones(ends[-1]), places[is_known], ends), shape)
    table, bias = fit_classes(
        counts,
        np.concatenate(tags),
        layer.tags,
        inverse_regularization=INVERSE_REGULARIZATION,
        tolerance=TOLERANCE,
        iterations=MOST_ITERATIONS,
    )
    layer.fill(known, table, bias)


def _most(most: int, tags: int) -> int:
    return max(min(most, MOST_WEIGHTS // tags), 1)


def _rows(lengths: np.ndarray) -> np.ndarray:
    """Return the indices of the sentences that the model is fitted to."""
    kept = min(1.0, MOST_TOKENS / max(lengths.sum(), 1))
    return evenly(len(lengths), int(kept * len(lengths)))


def _keys(features: np.ndarray, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the keys of all features of tokens.

    Args:
        features: int32 [U, F], of each word.
        ids: int [N], the rows of `features` of the tokens of all sentences, concatenated.
        lengths: int [sentences], whose sum is N.

    Returns:
        int64 [N, features].
    """
    from models.layers.token_features import feature_keys

    no_word = len(features)
    before, after = np.roll(ids, 1), np.roll(ids, -1)
    ends = np.cumsum(lengths[lengths > 0])
    before[ends[:-1]] = no_word
    before[:1] = after[ends - 1] = no_word
    keys = feature_keys(features, ids.astype(np.int32), before.astype(np.int32), after.astype(np.int32))
    own, previous, following = (part.numpy() for part in (keys.own, keys.previous, keys.following))
    return np.concatenate([own[ids], previous[before], following[after], keys.pairs.numpy()], axis=1)


def _frequent(keys: np.ndarray, most: int) -> np.ndarray:
    """Return the keys that most tokens have, ascending: int64 [at most `most`]."""
    distinct, numbers = np.unique(keys, return_counts=True)
    kept = numbers >= FEWEST_TOKENS
    return most_frequent(distinct[kept], numbers[kept], most)
