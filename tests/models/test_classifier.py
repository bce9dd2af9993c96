from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from classifier_models import LENGTHS, batch, classifier, each_pooling, randomized
from each_cell import each_cell
from keras import losses, optimizers, utils
from numpy_cells import run_cell

from models.classifier import Classifier
from models.layers.cells import CELLS
from models.layers.poolings import POOLINGS
from models.text.tokens import UNKNOWN_ID

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

each_direction = pytest.mark.parametrize("bidirectional", [False, True])


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
    for cell in CELLS:
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
    """Six sentences that differ in word order are learned by heart."""
    assert accuracy(trained[cell, bidirectional]) == 1


def test_toy_sentences_need_a_memory() -> None:
    """Without recurrent layers both sentences of a pair have equal logits: the task needs recurrence."""
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
    """Each kind of model, loaded in a fresh process, computes the same logits."""
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
        "several_labels": False,
        "embedding_size": 4,
        "cell": "gru",
        "units": 3,
        "layers": 2,
        "bidirectional": True,
        "merge_mode": "ave",
        "pooling": "max_mean",
        "dropout": 0.1,
        "locked_dropout": True,
        "recurrent_dropout": 0.2,
        "word_dropout": 0.3,
        "activation": "relu",
        "ngrams": 2,
        "calibrated": False,
        "ngram_entries": 5,
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


def test_forward_pass() -> None:
    """Logits are those of embedding, bidirectional LSTM, `max_mean` and head in NumPy."""
    model = randomized(bidirectional=True, pooling="max_mean", classes=3)
    embedding, *lstm_weights, kernel, bias = (weights.astype(np.float64) for weights in model.get_weights())
    token_ids, lengths = batch(padding=2, padding_id=9)
    logits = model(token_ids, lengths)

    assert logits.shape == [len(LENGTHS), 3]
    for row, length in enumerate(LENGTHS):
        embedded = embedding[token_ids[row, :length].numpy()]
        ahead = run_cell("lstm", lstm_weights[:3], embedded)
        behind = run_cell("lstm", lstm_weights[3:], embedded[::-1])[::-1]
        steps = np.concatenate([ahead, behind], axis=1)
        pooled = np.concatenate([steps.max(axis=0), steps.mean(axis=0)])
        np.testing.assert_allclose(logits[row], pooled @ kernel + bias, rtol=1e-4, atol=1e-5)


@each_pooling
@pytest.mark.parametrize("layers", [0, 1])
def test_padding_changes_nothing(pooling: str, layers: int) -> None:
    """Neither padding, nor its ids, nor other rows change a row's logits."""
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
    """Every weight has a gradient; of the embeddings only those of real tokens."""
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
    """Outside of training, no kind of dropout changes the logits."""
    settings: dict[str, Any] = {"layers": 2, "bidirectional": True}
    dropping = randomized(**settings, dropout=0.5, recurrent_dropout=0.5, word_dropout=0.5)
    logits = randomized(**settings)(*batch())

    np.testing.assert_allclose(dropping(*batch()), logits, rtol=1e-5)
    np.testing.assert_allclose(dropping(*batch(), training=False), logits, rtol=1e-5)


@pytest.mark.parametrize("dropout", ["dropout", "recurrent_dropout", "word_dropout"])
def test_dropout_is_on_in_training(dropout: str) -> None:
    """In training, each kind of dropout changes the logits, differently at each step."""
    model = randomized(**{dropout: 0.5})
    logits, first, second = model(*batch()), model(*batch(), training=True), model(*batch(), training=True)

    assert np.abs(first - logits).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


def test_dropout_is_on_embeddings_and_before_the_head() -> None:
    """Without embeddings, texts of equal length have equal logits; without features, the bias remains."""
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
    """If all words are dropped, the logits are those of a text of unknown tokens."""
    model = randomized()
    model.word_dropout.rate = 1.0
    token_ids, lengths = batch()
    unknown = model(tf.fill(token_ids.shape, UNKNOWN_ID), lengths)

    np.testing.assert_allclose(model(token_ids, lengths, training=True), unknown, rtol=1e-5)
    assert np.abs(model(token_ids, lengths) - unknown).max() > 1e-3
