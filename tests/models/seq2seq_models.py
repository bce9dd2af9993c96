"""Tiny translators and a batch of random tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.seq2seq import Seq2Seq
from models.settings import Seq2SeqSettings

SOURCE_SIZE = 11
TARGET_SIZE = 13
UNITS = 3
WIDTH = 4
SOURCE_LENGTHS = [4, 1, 5, 2]
TARGET_LENGTHS = [3, 5, 1, 2]
ATTENTIONS = ("additive", "multiplicative", "none")

each_attention = pytest.mark.parametrize("attention", ATTENTIONS)
each_feeding = pytest.mark.parametrize("input_feeding", [False, True])


def model_of(**settings: Any) -> Seq2Seq:
    """Return a tiny built model."""
    defaults: dict[str, Any] = {
        "source_vocabulary_size": SOURCE_SIZE,
        "target_vocabulary_size": TARGET_SIZE,
        **{"embedding_size": WIDTH, "units": UNITS, "attention": "multiplicative"},
        **{"dropout": 0.0, "word_dropout": 0.0},
    }
    arguments = {**defaults, **settings}
    own = {name: arguments.pop(name) for name in list(arguments) if name in Seq2SeqSettings.model_fields}
    model = Seq2Seq(Seq2SeqSettings(**own), **arguments)
    model.build()
    return model


def randomized(**settings: Any) -> Seq2Seq:
    """Return a tiny model whose weights are all random, biases too; the same ones in each model."""
    model = model_of(**settings)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
    return model


def rows(lengths: list[int], size: int, padding: int = 0, padding_id: int = 0) -> tf.Tensor:
    """Return rows of random known tokens, the same with any padding."""
    ids = np.full((len(lengths), max(lengths) + padding), padding_id)
    for row, length in enumerate(lengths):
        ids[row, :length] = np.random.default_rng([size, row]).integers(3, size, length)
    return tf.constant(ids, tf.int32)


def batch(padding: int = 0, padding_id: int = 0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return source ids, their lengths, and what the decoder reads."""
    return (
        rows(SOURCE_LENGTHS, SOURCE_SIZE, padding, padding_id),
        tf.constant(SOURCE_LENGTHS, tf.int32),
        rows(TARGET_LENGTHS, TARGET_SIZE, padding, padding_id),
    )
