"""What the linear models of texts, with which networks are compared, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import ExampleBatch, Split
from data.encoding import Texts

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

MOST_EXAMPLES = 100_000
MOST_BYTES = 2**26
"""A linear model and its n-grams are in memory: of more training examples, or of longer texts, it is fitted
to the first ones."""


def tfidf() -> Any:
    """Return the features of the linear models: TF-IDF of word uni- and bigrams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, decode_error="replace", dtype=np.float32)


def logistic_regression(predictor: Predictor) -> Any:
    """Return the linear model, which is seeded as the network is."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=1000, random_state=predictor.info.config.seed)


def training_texts(
    train: Split, targets_of: Callable[[ExampleBatch], np.ndarray]
) -> tuple[list[bytes], np.ndarray]:
    """Return the texts and targets [N, …] of the first examples, which a linear model is fitted to.

    Args:
        train: the training examples.
        targets_of: returns the targets of a batch: [B, …].

    Returns:
        at most `MOST_EXAMPLES`, of not much more than `MOST_BYTES`.
    """
    _, examples = train
    texts: list[bytes] = []
    targets: list[np.ndarray] = []
    size = 0
    for batch in examples:
        texts.extend(batch["text"])
        targets.append(targets_of(batch))
        size += sum(map(len, batch["text"]))
        if len(texts) >= MOST_EXAMPLES or size >= MOST_BYTES:
            break
    return texts[:MOST_EXAMPLES], np.concatenate(targets)[:MOST_EXAMPLES]


def predictions_and_targets(
    test: Split,
    targets_of: Callable[[ExampleBatch], np.ndarray],
    predict: Callable[[Texts], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions [N, …] and the targets [N, …] of all examples of a split, a batch at a time.

    Args:
        test: the examples; at least one.
        targets_of: returns the targets of a batch: [B, …].
        predict: returns the predictions of texts: [B, …].
    """
    pairs = [(predict(batch["text"]), targets_of(batch)) for batch in test[1]]
    found, targets = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return found, targets
