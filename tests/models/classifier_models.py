"""Tiny classifiers and a batch of random tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.classifier import Classifier
from models.layers.poolings import POOLINGS
from models.settings import ClassifierSettings

LENGTHS = [5, 1, 3, 2]

DEFAULTS: dict[str, Any] = {
    **{"embedding_size": 4, "units": 3, "bidirectional": False, "pooling": "last"},
    **dict.fromkeys(("dropout", "recurrent_dropout", "word_dropout"), 0.0),
}
each_pooling = pytest.mark.parametrize("pooling", POOLINGS)


def classifier(**settings: Any) -> Classifier:
    """Return a tiny built model."""
    values = {**DEFAULTS, "vocabulary_size": 20, "classes": 2, **settings}
    own = {name: values.pop(name) for name in list(values) if name in ClassifierSettings.model_fields}
    model = Classifier(ClassifierSettings(**own), **values)
    model.build()
    return model


def randomized(**settings: Any) -> Classifier:
    """Return a tiny model whose weights are all random, biases too; the same ones in each model."""
    model = classifier(**settings)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
    return model


def batch(padding: int = 0, padding_id: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return rows of random known tokens, the same with any padding."""
    token_ids = np.full((len(LENGTHS), max(LENGTHS) + padding), padding_id)
    for row, length in enumerate(LENGTHS):
        token_ids[row, :length] = np.random.default_rng([1, row]).integers(2, 20, length)
    return tf.constant(token_ids, tf.int32), tf.constant(LENGTHS, tf.int32)
