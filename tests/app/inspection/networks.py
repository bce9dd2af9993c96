"""Small classifiers whose recurrence is known, and rows for them."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.config import load_config
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.inspection import ClassificationInspection
from app.tasks.inspection import TOKENS, Vectors
from models.text.tokens import SPECIAL_TOKENS

WORDS = [b"a", b"b", b"c", b"d", b"e", b"f"]
UNITS = 8


def classifier(*overrides: str, seed: int = 1) -> ClassificationInspection:
    """Return a classifier with random weights: one layer of SimpleRNN, forwards."""
    config = load_config(
        "classification",
        overrides=[
            f"model.units={UNITS}",
            f"model.embedding_size={UNITS}",
            "model.cell=simple",
            "model.bidirectional=false",
            "model.pooling=last",
            "model.ngrams=0",
            *overrides,
        ],
    )
    vocabularies = {"vocabulary": [*SPECIAL_TOKENS, *WORDS], "labels": [b"no", b"yes"]}
    preprocessing = Preprocessing(vocabularies, ClassificationFacts(word_rules=2))
    keras.utils.set_random_seed(seed)
    from app.tasks import get_task

    model = get_task("classification").training.build_model(config, preprocessing, np.ones(8, np.int64))
    return ClassificationInspection(model, preprocessing, config)


def linear(decay: float) -> ClassificationInspection:
    """Return a classifier whose state is h_t = decay h_{t-1} + W x_t."""
    inspection = classifier()
    (layer,) = inspection.model.recurrent.forward
    layer.cell.activation = keras.activations.linear
    layer.cell.recurrent_kernel.assign(decay * np.eye(UNITS))
    return inspection


def rows(inspection: ClassificationInspection, lengths: list[int], *, padding: int = 0) -> Vectors:
    """Return rows of random words."""
    random = np.random.default_rng(0)
    texts = [b" ".join(random.choice(WORDS, length)) for length in lengths]
    found = inspection.vectors({"text": texts}, max(lengths))
    pad = [[0, 0], [0, padding]]
    return Vectors(
        {TOKENS: tf.pad(found.values[TOKENS], [*pad, [0, 0]], constant_values=7.0)},
        found.lengths,
        tf.pad(found.ids, pad),
    )
