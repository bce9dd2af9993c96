"""Tiny taggers and a batch of random tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy_cells import Array

from models.settings import TaggerSettings
from models.tagger import Tagger

LENGTHS = [5, 1, 3, 2]
TAG_COUNT = 3
# Tags O, B, I: I neither begins a row nor follows O.
BIO: list[Any] = [
    [True, True, False],
    [[True, True, False], [True, True, True], [True, True, True]],
    [True] * 3,
]

each_character_features = pytest.mark.parametrize("character_features", ["none", "recurrent", "convolution"])
each_crf = pytest.mark.parametrize("crf", [False, True])


def tagger(**settings: Any) -> Tagger:
    """Return a tiny built model."""
    defaults = {
        **{"vocabulary_size": 20, "tags": TAG_COUNT, "embedding_size": 4, "units": 3},
        **{"character_vocabulary_size": 30, "character_embedding_size": 5, "character_units": 7},
        **{"character_features": "none", "dropout": 0.0, "word_dropout": 0.0},
    }
    arguments = {**defaults, **settings}
    own = {name: arguments.pop(name) for name in list(arguments) if name in TaggerSettings.model_fields}
    model = Tagger(TaggerSettings(**own), **arguments)
    model.build()
    return model


def randomized(**settings: Any) -> Tagger:
    """Return a tiny model whose weights are all random, biases too; the same ones in each model."""
    model = tagger(**settings)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
    return model


def batch(steps: int = 0, letters: int = 0, unused: int = 0, fill: int = 0) -> tuple[tf.Tensor, ...]:
    """Return rows of random tokens of four word types, the same with any padding and unused types.

    What is added holds `fill`; word types of padded steps are existing ones.
    """
    token_ids = np.full((len(LENGTHS), max(LENGTHS) + steps), fill)
    word_types = np.full(token_ids.shape, fill % 4)
    for row, length in enumerate(LENGTHS):
        token_ids[row, :length] = np.random.default_rng([1, row]).integers(2, 20, length)
        word_types[row, :length] = np.random.default_rng([2, row]).integers(0, 4, length)
    character_lengths = [4, 1, 6, 2, *range(1, unused + 1)]
    characters = np.full((len(character_lengths), 6 + letters), fill)
    for form, length in enumerate(character_lengths):
        characters[form, :length] = np.random.default_rng([3, form]).integers(2, 30, length)
    parts = (token_ids, np.array(LENGTHS), word_types, characters, np.array(character_lengths))
    return tuple(tf.constant(part, tf.int32) for part in parts)


def real(values: tf.Tensor) -> Array:
    """Return the values of real tokens only, one row after the other."""
    return np.concatenate([values[row, :length].numpy() for row, length in enumerate(LENGTHS)])
