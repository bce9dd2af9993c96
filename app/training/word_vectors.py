"""Word vectors that are learned from the encoded texts before training.

Positive pointwise mutual information of words in a window, factorized by a truncated singular value
decomposition (Levy and Goldberg 2014), with the choices that Levy, Goldberg and Dagan (2015) recommend:
weights that fall with the distance, smoothed context counts, and square roots of the singular values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.files import replaced
from app.config import TaskConfig
from app.tasks.base import Task
from app.tasks.tokenizing import VOCABULARY
from app.training.encode import UNLABELLED, TrainingData
from data.encoding import Sequences
from models.text.tokens import SPECIAL_TOKENS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

VERSION = 2
WINDOW = 5
"""Tokens on each side that are context."""
SMOOTHING = 0.75
"""Exponent of the context counts."""
SCALE = 0.1
"""Root mean square of the elements of all vectors."""


def word_vectors(
    texts: Iterable[Sequences],
    *,
    vocabulary_size: int,
    special: int,
    size: int,
    seed: int,
    ids: np.ndarray | None = None,
) -> np.ndarray:
    """Return a vector for each token of a vocabulary.

    Args:
        texts: sequences of token ids, each row a text; no window reaches into another text.
        vocabulary_size: number of ids.
        special: number of the first ids that are no words, and get no vector.
        size: elements of a vector.
        seed: of the randomized decomposition.
        ids: int, the id in the vocabulary of each id of the sequences; None: they are the same.

    Returns:
        float32 [vocabulary_size, size]: rows of 0 for tokens without an informative neighbour. The last
        columns are 0 if the vocabulary is smaller than a vector.
    """
    from sklearn.utils.extmath import randomized_svd

    information = _positive_information(_cooccurrences(texts, vocabulary_size, special, ids))
    vectors = np.zeros((vocabulary_size, size), np.float32)
    if not information.nnz:
        return vectors
    rank = min(size, vocabulary_size)
    left, values, _ = randomized_svd(information, rank, n_iter=5, random_state=seed)
    vectors[:, :rank] = left * np.sqrt(values)
    # The decomposition leaves noise in rows that have no entries.
    vectors[np.diff(information.indptr) == 0] = 0
    used = vectors[vectors.any(axis=1)]
    return vectors * np.float32(SCALE / np.sqrt(np.mean(np.square(used))))


def learned_vectors(found: TrainingData, task: Task[Any, Any], config: TaskConfig) -> np.ndarray:
    """Return the `word_vectors` of training texts and texts without labels, from the file that keeps them.

    Args:
        found: encoded texts.
        task: says which sequences have the vocabulary of the embedding.
        config: resolved.
    """
    examples, size, seed = task.examples, config.model.embedding_size, config.seed
    path = found.directory / f"vectors-{VERSION}-{size}-{seed}.npy"
    if not path.exists():
        names = [n for n in examples.read_sequences if examples.vocabulary_of(n, config) == VOCABULARY]
        splits = [found.encoded.splits[s] for s in ("train", UNLABELLED) if s in found.encoded.splits]
        vectors = word_vectors(
            [split.sequences[name] for split in splits for name in names],
            vocabulary_size=len(found.preprocessing.vocabulary),
            special=len(SPECIAL_TOKENS),
            size=size,
            seed=seed,
            ids=examples.vocabulary_ids(found.encoded, found.preprocessing, config),
        )
        with replaced(path) as partial:
            np.save(partial, vectors)
    kept: np.ndarray = np.load(path)
    return kept


def _cooccurrences(
    texts: Iterable[Sequences], vocabulary_size: int, special: int, vocabulary_ids: np.ndarray | None
) -> csr_matrix:
    """Return weighted counts of pairs in a window: [vocabulary_size, vocabulary_size], symmetric."""
    from scipy.sparse import coo_matrix, csr_matrix

    shape = (vocabulary_size, vocabulary_size)
    counts = csr_matrix(shape, dtype=np.float32)
    for sequences in texts:
        for ids, counts_of_texts in sequences.chunks():
            ids = ids if vocabulary_ids is None else vocabulary_ids[ids]
            rows = np.repeat(np.arange(len(counts_of_texts)), counts_of_texts)
            words = ids >= special
            for distance in range(1, WINDOW + 1):
                near = words[:-distance] & words[distance:] & (rows[:-distance] == rows[distance:])
                pair = ids[:-distance][near], ids[distance:][near]
                weight = np.float32((WINDOW + 1 - distance) / WINDOW)
                counts += coo_matrix((np.full(len(pair[0]), weight), pair), shape).tocsr()
    return (counts + counts.T).tocsr()


def _positive_information(counts: csr_matrix) -> csr_matrix:
    """Return max(0, log p(word, context) / (p(word) p(context))) of counts, with smoothed p(context)."""
    from scipy.sparse import csr_matrix

    rows = np.asarray(counts.sum(axis=1), np.float64).ravel()
    contexts = rows**SMOOTHING
    found = counts.tocoo()
    values = np.log(found.data * contexts.sum()) - np.log(rows[found.row] * contexts[found.col])
    kept = values > 0
    return csr_matrix(
        (values[kept].astype(np.float32), (found.row[kept], found.col[kept])), shape=counts.shape
    )
