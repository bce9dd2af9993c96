"""What the linear models of texts, with which networks are compared, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import ExampleBatch, Split

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor


def tfidf() -> Any:
    """Return the features of the linear models: TF-IDF of word uni- and bigrams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, decode_error="replace", dtype=np.float32)


def logistic_regression(predictor: Predictor) -> Any:
    """Return the linear model, which is seeded as the network is."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=1000, random_state=predictor.info.config.seed)


def texts_and_targets(
    split: Split, targets_of: Callable[[ExampleBatch], np.ndarray], most: int | None
) -> tuple[list[bytes], np.ndarray]:
    """Return the texts and targets [N, …] of the first examples of a split.

    Args:
        split: the examples.
        targets_of: returns the targets of a batch: [B, …].
        most: maximum number of examples; None: all.
    """
    _, examples = split
    texts: list[bytes] = []
    targets: list[np.ndarray] = []
    for batch in examples:
        texts.extend(batch["text"])
        targets.append(targets_of(batch))
        if most is not None and len(texts) >= most:
            break
    return texts[:most], np.concatenate(targets)[:most]
