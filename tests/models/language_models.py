"""Tiny language models and a batch of random tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.language_model import LanguageModel, State
from models.settings import LanguageModelSettings

Array = NDArray[Any]

VOCABULARY = 11
LENGTHS = [7, 1, 4, 6]
LABELS = np.array([2, 0, 1, 2], np.int32)

# What changes the way from a token to the logits.
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep, labels": {"layers": 2, "labels": 3},
    "tied": {"tie_embeddings": True, "embedding_size": 5, "layers": 2},
    "tied, projected": {"tie_embeddings": True},
}
each_shape = pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES)


def model(**settings: Any) -> LanguageModel:
    """Return a built model whose weights are all random: Keras's own biases are zeros and ones."""
    defaults = {"embedding_size": 4, "units": 5, "dropout": 0.0, "word_dropout": 0.0, "tie_embeddings": False}
    labels = settings.pop("labels", 0)
    made = LanguageModel(
        LanguageModelSettings(**{**defaults, **settings}), vocabulary_size=VOCABULARY, labels=labels
    )
    made.build()
    generator = np.random.default_rng(0)
    for variable in made.trainable_variables:
        variable.assign(generator.normal(scale=0.7, size=variable.shape))
    return made


def batch(padding: int = 0, fill: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return rows of random tokens, the same with any padding."""
    token_ids = np.full([len(LENGTHS), max(LENGTHS) + padding], fill)
    for row, length in enumerate(LENGTHS):
        token_ids[row, :length] = np.random.default_rng(row).integers(2, VOCABULARY, length)
    return tf.constant(token_ids, tf.int32), tf.constant(LENGTHS)


def labels_of(made: LanguageModel) -> tf.Tensor | None:
    return tf.constant(LABELS) if made.labels else None


def random_state(made: LanguageModel, rows: int) -> State:
    generator = np.random.default_rng(9)
    return tf.nest.map_structure(
        lambda zeros: tf.constant(generator.uniform(-1, 1, zeros.shape), tf.float32), made.initial_state(rows)
    )


def assert_close(got: Any, wanted: Any) -> None:
    tf.nest.assert_same_structure(got, wanted)
    for one, other in zip(tf.nest.flatten(got), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
