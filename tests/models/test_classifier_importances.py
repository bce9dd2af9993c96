from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from classifier_models import LENGTHS, batch, classifier, each_pooling, randomized
from each_cell import each_cell
from keras import optimizers, utils
from numpy_cells import Array

from models.classifier import Classifier, log_odds
from models.layers.ngrams import ngram_keys
from models.text.tokens import UNKNOWN_ID


def importances(model: Classifier, padding: int = 0, classes: Sequence[int] = (0, 1, 0, 1)) -> Array:
    found: Array = model.importances(*batch(padding), tf.constant(classes)).numpy()
    return found


def test_log_odds() -> None:
    """The log-odds of a class are those of its probability, also if it is close to 1."""
    logits = tf.constant([[2.0, 1.0, 0.5], [2.0, 1.0, 0.5], [90.0, -90.0, 0.0]])
    shares = np.exp(logits[:2].numpy())
    shares /= shares.sum(axis=1, keepdims=True)
    found = log_odds(logits, tf.constant([0, 2, 0]))

    own = shares[[0, 1], [0, 2]]
    np.testing.assert_allclose(found, [*np.log(own / (1 - own)), 90], rtol=1e-5)
    np.testing.assert_allclose(log_odds(tf.constant([[2.0, 1.0]]), tf.constant([0])), [1], rtol=1e-5)


@each_pooling
@each_cell
def test_importances_add_up(pooling: str, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The importances of a row sum to the log-odds minus those of a text of unknown tokens."""
    model = randomized(pooling=pooling, cell=cell, bidirectional=True, classes=3)
    token_ids, lengths = batch()
    classes = tf.constant([0, 1, 2, 1])
    unknown = tf.fill(token_ids.shape, UNKNOWN_ID)
    rise = log_odds(model(token_ids, lengths), classes) - log_odds(model(unknown, lengths), classes)

    assert np.abs(rise).max() > 0.05
    found = importances(model, classes=[0, 1, 2, 1]).sum(axis=1)
    kinks = "max" in pooling or cell == "mingru"  # a gradient that jumps takes more points
    np.testing.assert_allclose(found, rise, atol=0.1 if kinks else 1e-4)
    if kinks:
        monkeypatch.setattr("models.classifier.INTEGRATION_POINTS", 500)
        found = importances(model, classes=[0, 1, 2, 1]).sum(axis=1)
        np.testing.assert_allclose(found, rise, atol=0.003)


def test_importances_with_ngrams() -> None:
    """Those of both branches together sum to the log-odds minus those of unknown tokens, without padding."""
    model = randomized(cell="gru", pooling="mean", classes=3, ngrams=2, ngram_entries=4)
    token_ids, lengths = batch()
    keys = ngram_keys(token_ids.numpy().ravel(), np.full(4, token_ids.shape[1]), 2, 20)
    assert model.ngrams is not None
    model.ngrams.keys.assign(np.unique(keys[keys > 0])[:4])
    model.branch_weights.assign([0.7, 1.8])
    classes = tf.constant([0, 1, 2, 1])
    unknown = tf.fill(token_ids.shape, UNKNOWN_ID)
    rise = log_odds(model(token_ids, lengths), classes) - log_odds(model(unknown, lengths), classes)

    found = importances(model, classes=[0, 1, 2, 1])
    np.testing.assert_allclose(found.sum(axis=1), rise, atol=1e-3)
    np.testing.assert_allclose(importances(model, 2, [0, 1, 2, 1])[:, :5], found, atol=1e-5)
    model.branch_weights.assign([0.7, 0.0])
    assert np.abs(importances(model, classes=[0, 1, 2, 1]) - found).max() > 0.1


def test_importances_of_a_linear_model() -> None:
    """If the score is a sum over tokens, the importance of a token is its term."""
    model = randomized(layers=0, pooling="mean")
    embedding, kernel, _ = model.get_weights()
    token_ids, lengths = batch()
    of_token = (embedding - embedding[UNKNOWN_ID]) @ (kernel[:, 1] - kernel[:, 0])
    found = model.importances(token_ids, lengths, tf.ones(len(LENGTHS), tf.int32))

    for row, length in enumerate(LENGTHS):
        expected = of_token[token_ids[row, :length].numpy()] / length
        np.testing.assert_allclose(found[row, :length], expected, rtol=1e-4, atol=1e-6)


def test_unknown_tokens_have_no_importance() -> None:
    """The importance of an unknown token, the baseline, is 0; that of other tokens is not."""
    model = randomized(cell="gru", pooling="max_mean")
    token_ids = tf.constant([[5, UNKNOWN_ID, 7]])
    found = model.importances(token_ids, tf.constant([3]), tf.constant([0])).numpy()[0]

    assert found[1] == 0
    assert np.abs(found[[0, 2]]).min() > 1e-3


@each_pooling
def test_importances_and_padding(pooling: str) -> None:
    """Neither padding nor other rows change importances; those of padding are 0."""
    model = randomized(pooling=pooling, bidirectional=True)
    found, padded = importances(model), importances(model, padding=3)
    token_ids, lengths = batch()

    np.testing.assert_allclose(padded[:, : found.shape[1]], found, rtol=1e-4, atol=1e-6)
    for row, length in enumerate(LENGTHS):
        alone = model.importances(token_ids[row : row + 1], lengths[row : row + 1], tf.constant([row % 2]))
        np.testing.assert_allclose(alone[0], found[row], rtol=1e-4, atol=1e-6)
        assert np.abs(found[row, :length]).min() > 0
        assert not padded[row, length:].any()


def test_importances_of_two_classes() -> None:
    """The importances for one of two classes are the negative of those for the other."""
    model = randomized(pooling="attention")
    np.testing.assert_allclose(
        importances(model, classes=[0] * 4), -importances(model, classes=[1] * 4), rtol=1e-3, atol=1e-6
    )


def test_the_word_that_decides() -> None:
    """In a trained model, the words that differ between classes have the greatest importances."""
    utils.set_random_seed(1)
    model = classifier(cell="gru", layers=0, pooling="mean")
    words = {"good": 1, "fine": 1, "bad": 0, "dull": 0}
    token_ids = tf.constant([[2, 3, 4 + i] for i in range(4)])
    labels = tf.constant(list(words.values()))
    optimizer = optimizers.Adam(0.1)
    for _ in range(30):
        with tf.GradientTape() as tape:
            logits = model(token_ids, tf.fill([4], 3))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    found = model.importances(token_ids, tf.fill([4], 3), labels).numpy()

    assert (found.argmax(axis=1) == 2).all()
    assert (found[:, 2] > 0.5).all()


def test_importances_of_a_portable_model() -> None:
    """A portable model has the same importances; its kernels have no gradients."""
    settings: dict[str, Any] = {"cell": "lstm", "bidirectional": True, "layers": 2}
    expected = importances(randomized(**settings))
    model = randomized(**settings)
    model.make_portable()
    found = tf.function(model.importances, autograph=False)(*batch(), tf.constant([0, 1, 0, 1]))

    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("portable", [False, True])
def test_importances_on_any_host(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of a portable model has no cuDNN operations, also if traced with a GPU."""
    keras_backend = importlib.import_module("keras.src.backend.tensorflow.rnn")
    monkeypatch.setattr(keras_backend, "cudnn_ok", lambda *_, **__: True)
    model = randomized(bidirectional=True)
    if portable:
        model.make_portable()
    specs = [tf.TensorSpec(shape, tf.int32) for shape in ([None, None], [None], [None])]
    graph = tf.function(model.importances, specs, autograph=False).get_concrete_function().graph
    kinds = {node.op for node in graph.as_graph_def().node}
    kinds |= {node.op for each in graph.as_graph_def().library.function for node in each.node_def}

    assert any("Cudnn" in kind for kind in kinds) is not portable
