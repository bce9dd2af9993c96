from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.classifier import Classifier
from models.language_model import LanguageModel
from models.seq2seq import Seq2Seq
from models.settings import ClassifierSettings, LanguageModelSettings, Seq2SeqSettings

IDS = tf.constant([[3, 4, 5, 6], [5, 3, 0, 0]])
LENGTHS = tf.constant([4, 2])


def randomized(model: Any) -> Any:
    """Build a model and draw all of its weights, biases too."""
    model.build()
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("bidirectional", [False, True])
def test_classifier(bidirectional: bool, tmp_path: Path) -> None:
    """Padding changes nothing, in both directions; a loaded and a portable model give the same logits."""
    settings = ClassifierSettings(
        cell="mingru", units=3, embedding_size=4, layers=2, bidirectional=bidirectional
    )
    model = randomized(Classifier(settings, vocabulary_size=9, classes=2))
    logits = model(IDS, LENGTHS)
    padded = model(tf.pad(IDS, [[0, 0], [0, 70]], constant_values=7), LENGTHS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    np.testing.assert_allclose(padded, logits, rtol=1e-4)
    np.testing.assert_allclose(loaded(IDS, LENGTHS), logits, rtol=1e-6)
    loaded.make_portable()
    np.testing.assert_allclose(loaded(IDS, LENGTHS), logits, rtol=1e-5)
    assert loaded.cudnn_layers() == 0


def test_language_model() -> None:
    """Pieces with a carried state, single steps and prompts give the numbers of the whole sequence."""
    settings = LanguageModelSettings(cell="mingru", units=3, embedding_size=4, layers=2)
    model = randomized(LanguageModel(settings, vocabulary_size=9))
    whole, last = model(IDS)
    first, state = model(IDS[:, :2])
    second, after = model(IDS[:, 2:], state)
    step, _ = model.step(IDS[:, 2], state)
    prompts, _ = model.read(IDS, LENGTHS)

    np.testing.assert_allclose(tf.concat([first, second], axis=1), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(step, whole[:, 2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prompts, [whole[0, 3], whole[1, 1]], rtol=1e-4, atol=1e-5)
    for got, wanted in zip(tf.nest.flatten(after), tf.nest.flatten(last), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_weight_dropout_is_refused() -> None:
    """There are no recurrent weights to drop."""
    settings = LanguageModelSettings(cell="mingru", weight_dropout=0.2)
    with pytest.raises(ValueError, match="expected 0 for the cell 'mingru', which has no recurrent weights"):
        LanguageModel(settings, vocabulary_size=9)


@pytest.mark.parametrize("input_feeding", [False, True])
def test_seq2seq(input_feeding: bool) -> None:
    """Step by step a translator gives the logits of teacher forcing."""
    settings = Seq2SeqSettings(cell="mingru", units=3, embedding_size=4, input_feeding=input_feeding)
    model = randomized(Seq2Seq(settings, source_vocabulary_size=9, target_vocabulary_size=9))
    logits = model(IDS, LENGTHS, IDS)
    state = model.encode(IDS, LENGTHS)
    for t in range(4):
        of_step, state = model.step(IDS[:, t], state)
        np.testing.assert_allclose(of_step, logits[:, t], rtol=1e-4, atol=1e-5)
