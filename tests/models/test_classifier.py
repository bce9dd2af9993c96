from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import losses, optimizers, utils
from numpy.typing import NDArray

from models.classifier import Classifier, log_odds
from models.layers.poolings import POOLINGS
from models.settings import ClassifierSettings
from models.text.tokens import UNKNOWN_ID

Array = NDArray[np.float64]

# Pairs of the same words, with the same first and last ones: what tells them apart is order, remembered.
TOY = {
    "it is good not bad .": 1,
    "it is bad not good .": 0,
    "it is not dull but fine .": 1,
    "it is not fine but dull .": 0,
    "it seems glad never sad .": 1,
    "it seems sad never glad .": 0,
}
WORDS = sorted({word for text in TOY for word in text.split()})
TOY_LENGTHS = tf.constant([len(text.split()) for text in TOY])
TOY_IDS = tf.ragged.constant(
    [[WORDS.index(word) + 2 for word in text.split()] for text in TOY], dtype=tf.int32
).to_tensor()
TOY_LABELS = tf.constant(list(TOY.values()))

LENGTHS = [5, 1, 3, 2]

DEFAULTS: dict[str, Any] = {
    **{"embedding_size": 4, "units": 3, "bidirectional": False, "pooling": "last"},
    **dict.fromkeys(("dropout", "recurrent_dropout", "word_dropout"), 0.0),
}

# Cells of Keras; `mingru` has tests of its own in layers/cells and in test_mingru_networks.
KERAS_CELLS = ("simple", "gru", "lstm")
each_cell = pytest.mark.parametrize("cell", KERAS_CELLS)
each_direction = pytest.mark.parametrize("bidirectional", [False, True])
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


def train(model: Classifier, steps: int = 60) -> None:
    """Train on the toy sentences."""
    optimizer = optimizers.Adam(0.05)
    loss_of = losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(TOY_LABELS, model(TOY_IDS, TOY_LENGTHS, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        step()


def accuracy(model: Classifier) -> float:
    return float(np.mean(np.argmax(model(TOY_IDS, TOY_LENGTHS), axis=-1) == TOY_LABELS))


@pytest.fixture(scope="module")
def trained() -> dict[tuple[str, bool], Classifier]:
    """Return a model trained on the toy sentences for each cell and direction."""
    models = {}
    for cell in KERAS_CELLS:
        for bidirectional in (False, True):
            utils.set_random_seed(1)
            models[cell, bidirectional] = classifier(cell=cell, bidirectional=bidirectional)
            train(models[cell, bidirectional])
    return models


def test_size_of_the_textbook_model() -> None:
    """An LSTM of 128 units on 1,000 words has 164,106 weights."""
    model = classifier(vocabulary_size=1000, classes=10, embedding_size=64, units=128)

    assert model.embedding.count_params() == 1000 * 64 == 64_000
    assert model.recurrent.count_params() == 4 * (64 * 128 + 128 * 128 + 128) == 98_816
    assert model.head.count_params() == 128 * 10 + 10 == 1_290
    assert model.count_params() == 164_106


@each_cell
@each_direction
def test_learns_the_toy_sentences(
    trained: dict[tuple[str, bool], Classifier], cell: str, bidirectional: bool
) -> None:
    """Six sentences that differ in the order of their words are learnt by heart."""
    assert accuracy(trained[cell, bidirectional]) == 1


def test_toy_sentences_need_a_memory() -> None:
    """Without recurrent layers the two of a pair look alike, so the test above tests something."""
    of_words = randomized(layers=0, pooling="mean")(TOY_IDS, TOY_LENGTHS).numpy()
    of_last_word = randomized(layers=0, pooling="last")(TOY_IDS, TOY_LENGTHS).numpy()

    np.testing.assert_allclose(of_words[::2], of_words[1::2], rtol=1e-5)
    assert all(np.abs(a - b).max() > 0.01 for a, b in pairwise(of_words[::2]))
    np.testing.assert_array_equal(of_last_word, of_last_word[[0] * len(TOY)])


VARIANTS: dict[str, dict[str, Any]] = {
    "layers": {"layers": 3, "merge_mode": "mul", "bidirectional": True, "activation": "relu"},
    "no_layers": {"layers": 0, "pooling": "mean"},
    "dropout": {"dropout": 0.5, "recurrent_dropout": 0.5, "word_dropout": 0.5, "classes": 3},
    **{kind: {"pooling": kind, "cell": "gru", "bidirectional": True} for kind in POOLINGS},
}

IN_FRESH_PROCESS = """
import json, pathlib, sys
import keras
import tensorflow as tf
import models.classifier

folder, token_ids, lengths = json.loads(sys.argv[1])
logits = {}
for path in pathlib.Path(folder).glob("*.keras"):
    model = keras.saving.load_model(path)
    logits[path.stem] = model(tf.constant(token_ids), tf.constant(lengths)).numpy().tolist()
print(json.dumps(logits))
"""


def test_same_numbers_in_a_fresh_process(trained: dict[tuple[str, bool], Classifier], tmp_path: Path) -> None:
    """Saved as `.keras` and loaded elsewhere, each kind of model gives the logits that it gave here."""
    saved = {f"{cell}_{bidirectional}": model for (cell, bidirectional), model in trained.items()}
    saved |= {name: randomized(**settings) for name, settings in VARIANTS.items()}
    for name, model in saved.items():
        model.save(tmp_path / f"{name}.keras")
    token_ids, lengths = batch(padding=2)
    result = subprocess.run(
        [
            *(sys.executable, "-c", IN_FRESH_PROCESS),
            json.dumps([str(tmp_path), token_ids.numpy().tolist(), lengths.numpy().tolist()]),
        ],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    loaded = json.loads(result.stdout.splitlines()[-1])

    assert loaded.keys() == saved.keys()
    for name, model in saved.items():
        np.testing.assert_allclose(
            loaded[name], model(token_ids, lengths), rtol=1e-6, atol=1e-7, err_msg=name
        )


def test_config() -> None:
    """The configuration has every setting, and makes the same model again."""
    settings: dict[str, Any] = {
        "vocabulary_size": 20,
        "classes": 3,
        "embedding_size": 4,
        "cell": "gru",
        "units": 3,
        "layers": 2,
        "bidirectional": True,
        "merge_mode": "ave",
        "pooling": "max_mean",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "word_dropout": 0.3,
        "activation": "relu",
    }
    model = randomized(**settings, name="reviews")
    again = Classifier.from_config(model.get_config())
    again.build()
    again.set_weights(model.get_weights())

    assert again.name == "reviews"
    assert {**again.settings.model_dump(), **again.arguments} == settings
    assert again.recurrent.settings == model.recurrent.settings
    assert (
        again.recurrent.settings.model_dump().items()
        >= {
            **{"cell": "gru", "units": 3, "layers": 2, "bidirectional": True, "merge_mode": "ave"},
            **{"dropout": 0.1, "recurrent_dropout": 0.2, "activation": "relu"},
        }.items()
    )
    assert (again.embedding_dropout.rate, again.head_dropout.rate, again.word_dropout.rate) == (0.1, 0.1, 0.3)
    np.testing.assert_array_equal(again(*batch()), model(*batch()))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm(steps: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """Run an LSTM over one row: [T, D] → [T, U]."""
    h = c = np.zeros(len(recurrent))
    outputs = []
    for x in steps:
        i, f, candidate, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def test_forward_pass() -> None:
    """Embedding, a bidirectional LSTM, `max_mean` and the head are what NumPy makes of the weights."""
    model = randomized(bidirectional=True, pooling="max_mean", classes=3)
    embedding, *lstm_weights, kernel, bias = (weights.astype(np.float64) for weights in model.get_weights())
    token_ids, lengths = batch(padding=2, padding_id=9)
    logits = model(token_ids, lengths)

    assert logits.shape == [len(LENGTHS), 3]
    for row, length in enumerate(LENGTHS):
        embedded = embedding[token_ids[row, :length].numpy()]
        ahead = lstm(embedded, *lstm_weights[:3])
        behind = lstm(embedded[::-1], *lstm_weights[3:])[::-1]
        steps = np.concatenate([ahead, behind], axis=1)
        pooled = np.concatenate([steps.max(axis=0), steps.mean(axis=0)])
        np.testing.assert_allclose(logits[row], pooled @ kernel + bias, rtol=1e-4, atol=1e-5)


@each_pooling
@pytest.mark.parametrize("layers", [0, 1])
def test_padding_changes_nothing(pooling: str, layers: int) -> None:
    """Neither more padding, nor the ids that it holds, nor neighbours change a row's logits."""
    model = randomized(pooling=pooling, bidirectional=True, layers=layers)
    token_ids, lengths = batch()
    logits = model(token_ids, lengths)

    for padding, padding_id in ((0, 19), (2, 0), (2, 7)):
        padded = model(*batch(padding, padding_id))
        np.testing.assert_allclose(padded, logits, rtol=1e-4, atol=1e-5)
    for row, length in enumerate(LENGTHS):
        alone = model(token_ids[row : row + 1, :length], lengths[row : row + 1])
        np.testing.assert_allclose(alone[0], logits[row], rtol=1e-4, atol=1e-5)


@each_pooling
def test_order_of_rows_does_not_matter(pooling: str) -> None:
    """Rows in another order give the same logits in that order."""
    model = randomized(pooling=pooling, bidirectional=True)
    token_ids, lengths = batch()
    order = [2, 0, 3, 1]
    shuffled = model(tf.gather(token_ids, order), tf.gather(lengths, order))

    np.testing.assert_allclose(shuffled, tf.gather(model(token_ids, lengths), order), rtol=1e-4, atol=1e-5)


@each_pooling
def test_every_weight_learns(pooling: str) -> None:
    """A loss gives every weight a gradient, and the embeddings only of tokens that are read."""
    model = randomized(pooling=pooling, bidirectional=True, layers=2)
    token_ids, lengths = batch(padding=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(token_ids, lengths)[:, 0])
    of_embedding, *others = tape.gradient(loss, model.trainable_variables)
    moved = np.flatnonzero(np.any(tf.convert_to_tensor(of_embedding), axis=1))
    read = {i for row, length in zip(token_ids.numpy(), LENGTHS, strict=True) for i in row[:length]}

    assert set(moved) == read
    assert all(np.any(gradient) for gradient in others)


def test_dropout_is_off_in_inference() -> None:
    """Out of training, no kind of dropout changes the logits."""
    settings: dict[str, Any] = {"layers": 2, "bidirectional": True}
    dropping = randomized(**settings, dropout=0.5, recurrent_dropout=0.5, word_dropout=0.5)
    logits = randomized(**settings)(*batch())

    np.testing.assert_allclose(dropping(*batch()), logits, rtol=1e-5)
    np.testing.assert_allclose(dropping(*batch(), training=False), logits, rtol=1e-5)


@pytest.mark.parametrize("dropout", ["dropout", "recurrent_dropout", "word_dropout"])
def test_dropout_is_on_in_training(dropout: str) -> None:
    """In training, each kind of dropout changes the logits, and anew at each step."""
    model = randomized(**{dropout: 0.5})
    logits, first, second = model(*batch()), model(*batch(), training=True), model(*batch(), training=True)

    assert np.abs(first - logits).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


def test_dropout_is_on_embeddings_and_before_the_head() -> None:
    """With all embeddings dropped texts of one length look alike; with all before the head its bias stays."""
    model = randomized(dropout=0.5)
    model.embedding_dropout.rate, model.head_dropout.rate = 1.0, 0.0
    logits = model(TOY_IDS[:2], TOY_LENGTHS[:2], training=True).numpy()
    bias = model.get_weights()[-1]

    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-5)
    assert np.abs(logits - bias).max() > 0.01

    model.embedding_dropout.rate, model.head_dropout.rate = 0.0, 1.0
    logits = model(TOY_IDS, TOY_LENGTHS, training=True).numpy()

    np.testing.assert_allclose(logits, [bias] * len(TOY), rtol=1e-5)


def test_word_dropout_reads_tokens_as_unknown() -> None:
    """With all words dropped, a text in training is one of unknown tokens."""
    model = randomized()
    model.word_dropout.rate = 1.0
    token_ids, lengths = batch()
    unknown = model(tf.fill(token_ids.shape, UNKNOWN_ID), lengths)

    np.testing.assert_allclose(model(token_ids, lengths, training=True), unknown, rtol=1e-5)
    assert np.abs(model(token_ids, lengths) - unknown).max() > 1e-3


# What tokens do for a class


def importances(model: Classifier, padding: int = 0, classes: Sequence[int] = (0, 1, 0, 1)) -> Array:
    found: Array = model.importances(*batch(padding), tf.constant(classes)).numpy()
    return found


def test_log_odds() -> None:
    """The log-odds of a class are those of its softmax, also where it has no doubt."""
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
    """The importances of a row's tokens add up to what the text is above one of unknown tokens."""
    model = randomized(pooling=pooling, cell=cell, bidirectional=True, classes=3)
    token_ids, lengths = batch()
    classes = tf.constant([0, 1, 2, 1])
    unknown = tf.fill(token_ids.shape, UNKNOWN_ID)
    rise = log_odds(model(token_ids, lengths), classes) - log_odds(model(unknown, lengths), classes)

    assert np.abs(rise).min() > 0.02
    found = importances(model, classes=[0, 1, 2, 1]).sum(axis=1)
    kinks = "max" in pooling  # a gradient that jumps takes more points
    np.testing.assert_allclose(found, rise, atol=0.1 if kinks else 1e-4)
    if kinks:
        monkeypatch.setattr("models.classifier.INTEGRATION_POINTS", 500)
        found = importances(model, classes=[0, 1, 2, 1]).sum(axis=1)
        np.testing.assert_allclose(found, rise, atol=0.003)


def test_importances_of_a_linear_model() -> None:
    """Where a score is a sum over tokens, each one's importance is its own part of it."""
    model = randomized(layers=0, pooling="mean")
    embedding, kernel, _ = model.get_weights()
    token_ids, lengths = batch()
    of_token = (embedding - embedding[UNKNOWN_ID]) @ (kernel[:, 1] - kernel[:, 0])
    found = model.importances(token_ids, lengths, tf.ones(len(LENGTHS), tf.int32))

    for row, length in enumerate(LENGTHS):
        expected = of_token[token_ids[row, :length].numpy()] / length
        np.testing.assert_allclose(found[row, :length], expected, rtol=1e-4, atol=1e-6)


def test_unknown_tokens_have_no_importance() -> None:
    """What all tokens are compared with has none itself, and changes nothing of its neighbours' sign."""
    model = randomized(cell="gru", pooling="max_mean")
    token_ids = tf.constant([[5, UNKNOWN_ID, 7]])
    found = model.importances(token_ids, tf.constant([3]), tf.constant([0])).numpy()[0]

    assert found[1] == 0
    assert np.abs(found[[0, 2]]).min() > 1e-3


@each_pooling
def test_importances_and_padding(pooling: str) -> None:
    """Neither padding nor neighbours change importances; padding has none."""
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
    """Of two classes, what speaks for the one speaks as much against the other."""
    model = randomized(pooling="attention")
    np.testing.assert_allclose(
        importances(model, classes=[0] * 4), -importances(model, classes=[1] * 4), rtol=1e-3, atol=1e-6
    )


def test_the_word_that_decides() -> None:
    """In a trained model the words that two sentences of one class share do less than those that differ."""
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
    """A model made portable has the same importances: it does not ask its kernels for gradients."""
    settings: dict[str, Any] = {"cell": "lstm", "bidirectional": True, "layers": 2}
    expected = importances(randomized(**settings))
    model = randomized(**settings)
    model.make_portable()
    found = tf.function(model.importances, autograph=False)(*batch(), tf.constant([0, 1, 0, 1]))

    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("portable", [False, True])
def test_importances_on_any_host(portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a portable model, a machine with cuDNN makes no graph that a machine without could not run."""
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
