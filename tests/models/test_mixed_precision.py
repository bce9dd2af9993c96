from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.classifier import Classifier
from models.decoding.sampling import sample
from models.language_model import LanguageModel
from models.layers.cells import CELLS
from models.losses import cross_entropy, token_cross_entropy
from models.network import Network
from models.seq2seq import Seq2Seq
from models.settings import ClassifierSettings, LanguageModelSettings, Seq2SeqSettings, TaggerSettings
from models.tagger import Tagger

IDS = tf.constant([[3, 4, 5, 6], [5, 3, 0, 0]])
LENGTHS = tf.constant([4, 2])
REAL = tf.sequence_mask(LENGTHS, 4)
LABELS = tf.constant([0, 1])
SIZE = 9


def classifier(**own: Any) -> tuple[Network, Callable[[Any], tf.Tensor]]:
    model = Classifier(ClassifierSettings(units=4, embedding_size=3, **own), vocabulary_size=SIZE, classes=2)
    return model, lambda each: tf.reduce_mean(cross_entropy(each(IDS, LENGTHS, training=True), LABELS, 0.1))


def tagger(**own: Any) -> tuple[Network, Callable[[Any], tf.Tensor]]:
    settings = TaggerSettings(units=4, embedding_size=3, character_features="none", **own)
    model = Tagger(settings, vocabulary_size=SIZE, tags=3, labels=2)

    def loss(each: Any) -> tf.Tensor:
        outputs = each(IDS, LENGTHS, training=True)
        of_labels = cross_entropy(outputs["label_logits"], LABELS)
        return tf.reduce_sum(each.tag_losses(outputs, IDS % 3, LENGTHS)) + tf.reduce_sum(of_labels)

    return model, loss


def language_model(**own: Any) -> tuple[Network, Callable[[Any], tf.Tensor]]:
    model = LanguageModel(
        LanguageModelSettings(units=4, embedding_size=3, **own), vocabulary_size=SIZE, labels=2
    )

    def loss(each: Any) -> tf.Tensor:
        carried = [tf.Variable(value) for value in tf.nest.flatten(each.initial_state(2))]
        state = tf.nest.pack_sequence_as(each.initial_state(1), [tf.convert_to_tensor(v) for v in carried])
        logits, state = each(IDS, state, LABELS, training=True)
        for variable, value in zip(carried, tf.nest.flatten(state), strict=True):
            variable.assign(tf.stop_gradient(value))
        return tf.reduce_sum(token_cross_entropy(logits, IDS, REAL, 0.1))

    return model, loss


def seq2seq(**own: Any) -> tuple[Network, Callable[[Any], tf.Tensor]]:
    settings = Seq2SeqSettings(units=4, embedding_size=3, **own)
    model = Seq2Seq(settings, source_vocabulary_size=SIZE, target_vocabulary_size=SIZE)

    def loss(each: Any) -> tf.Tensor:
        logits = each(IDS, LENGTHS, IDS, training=True)
        return tf.reduce_sum(token_cross_entropy(logits, IDS, REAL))

    return model, loss


NETWORKS: dict[str, Callable[..., tuple[Network, Callable[[Any], tf.Tensor]]]] = {
    "classifier": classifier,
    "classifier, attention": lambda **own: classifier(pooling="attention", layers=2, **own),
    "tagger": tagger,
    "tagger, CRF": lambda **own: tagger(crf=True, **own),
    "language model": language_model,
    "language model, deep": lambda **own: language_model(layers=2, tie_embeddings=False, **own),
    "seq2seq": seq2seq,
    "seq2seq, no input feeding": lambda **own: seq2seq(input_feeding=False, attention="none", **own),
}


@pytest.fixture
def mixed() -> Iterator[None]:
    """Let new layers compute in bfloat16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("network", NETWORKS)
def test_trained_in_mixed_precision(network: str, cell: str, mixed: None, tmp_path: Path) -> None:
    """A network trains in bfloat16, is saved, and loaded with the default policy computes in float32."""
    model, loss_of = NETWORKS[network](cell=cell, dropout=0.1)
    model.build()
    weights = [weight.numpy() for weight in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = loss_of(model)
    gradients = tape.gradient(loss, model.trainable_variables)
    keras.optimizers.Adam(0.1).apply(gradients, model.trainable_variables)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert loss.dtype == tf.float32
    assert np.isfinite(loss)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert any(np.any(old != new) for old, new in zip(weights, model.trainable_variables, strict=True))
    assert loaded.compute_dtype == "float32"
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    for got, wanted in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert np.isfinite(loss_of(loaded))


@pytest.mark.parametrize("cell", CELLS)
def test_text_is_generated_in_mixed_precision(cell: str, mixed: None) -> None:
    """Between epochs, a language model in bfloat16 reads, samples and scores as one in float32, nearly."""
    model, _ = language_model(cell=cell)
    assert isinstance(model, LanguageModel)
    model.build()
    keras.config.set_dtype_policy("float32")
    precise = LanguageModel.from_config(model.get_config())
    precise.build()
    precise.set_weights(model.get_weights())

    for each in (model, precise):
        logits, state = each.read(IDS, LENGTHS)
        assert {value.dtype for value in tf.nest.flatten((logits, state))} == {tf.float32}
        ids, *_ = sample(each.step, state, logits, length=3)
        assert ids.shape == [2, 3]
    np.testing.assert_allclose(model.read(IDS, LENGTHS)[0], precise.read(IDS, LENGTHS)[0], atol=0.05)
    np.testing.assert_allclose(model.score(IDS, LENGTHS)[0], precise.score(IDS, LENGTHS)[0], rtol=0.02)
