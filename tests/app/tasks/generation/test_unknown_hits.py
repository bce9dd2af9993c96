"""A token out of vocabulary is never a hit, however sure the model is of it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from app.config import load_config
from app.tasks.generation.training import _read_window
from app.tasks.translation.training import score_pairs
from models.language_model import LanguageModel
from models.seq2seq import Seq2Seq
from models.text.tokens import END_ID, UNKNOWN_ID

SIZE = 6
IDS = tf.constant([[UNKNOWN_ID, UNKNOWN_ID, 4, UNKNOWN_ID]])


def certain_of_unknown(weights: list[tf.Variable]) -> None:
    """Make a network sure of [UNK] at each step."""
    for variable in weights:
        variable.assign(tf.zeros_like(variable))
        if tuple(variable.shape) == (SIZE,):
            variable.assign(9 * tf.one_hot(UNKNOWN_ID, SIZE))


def test_a_language_model() -> None:
    """In training and validation, and in what `evaluate` reads."""
    settings = load_config("generation", overrides=["model.units=3", "model.embedding_size=3"]).model
    model = LanguageModel(settings, vocabulary_size=SIZE, labels=0)
    model.build()
    certain_of_unknown(model.trainable_variables)
    batch = {
        "inputs": tf.constant([[END_ID, UNKNOWN_ID, UNKNOWN_ID, 4]]),
        "targets": IDS,
        "lengths": tf.constant([4]),
        "fresh": tf.constant([True]),
        "counted": tf.constant([True]),
    }
    nats, correct, tokens, _ = _read_window(model, batch, model.initial_state(1), None, training=False)

    assert float(tokens) == 4
    assert float(correct) == 0
    assert np.isfinite(float(nats))


def test_a_translator() -> None:
    """The tokens still count as tokens."""
    settings = load_config("translation", overrides=["model.units=3", "model.embedding_size=3"]).model
    model = Seq2Seq(settings, source_vocabulary_size=SIZE, target_vocabulary_size=SIZE, shared=False)
    model.build()
    certain_of_unknown(model.trainable_variables)
    batch = {
        "source": IDS,
        "source_lengths": tf.constant([4]),
        "before": tf.constant([[END_ID, UNKNOWN_ID, UNKNOWN_ID, 4]]),
        "following": IDS,
        "lengths": tf.constant([4]),
    }
    _, correct, tokens = score_pairs(model, batch)

    assert float(tokens[0]) == 4
    assert float(correct[0]) == 0
