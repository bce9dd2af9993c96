from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import optimizers, utils
from tagger_models import (
    BIO,
    batch,
    each_character_features,
    randomized,
    real,
    tagger,
)

from models.tagger import Tagger
from models.text.tokens import UNKNOWN_ID
from models.text.word_features import word_features

# The same words under other tags: a token's neighbours on both sides decide. The label is the first tag.
TOY = {
    "they can fish": "PRON AUX VERB",
    "they fish can": "PRON VERB NOUN",
    "can fish can": "NOUN AUX VERB",
    "fish can fish": "NOUN AUX VERB",
    "can they fish": "AUX PRON VERB",
    "fish": "NOUN",
}
WORDS = sorted({word for text in TOY for word in text.split()})
TAGS = sorted({tag for tags in TOY.values() for tag in tags.split()})
TOY_LENGTHS = tf.constant([len(text.split()) for text in TOY])
TOY_LABELS = tf.constant([TAGS.index(tags.split()[0]) for tags in TOY.values()])


def ragged(rows: list[list[int]]) -> tf.Tensor:
    """Return int32 rows padded with 0."""
    return tf.ragged.constant(rows, dtype=tf.int32).to_tensor()


def toy_inputs() -> tuple[tf.Tensor, ...]:
    rows = [[WORDS.index(word) for word in text.split()] for text in TOY]
    spelled = [[ord(letter) - ord("a") + 2 for letter in word] for word in WORDS]
    token_ids = ragged([[i + 2 for i in row] for row in rows])
    lengths = tf.constant([len(form) for form in spelled])
    return token_ids, TOY_LENGTHS, ragged(rows), ragged(spelled), lengths, word_features(tf.constant(WORDS))


TOY_TAGS = ragged([[TAGS.index(tag) for tag in tags.split()] for tags in TOY.values()])


def train(model: Tagger, steps: int = 40) -> None:
    """Train on the toy sentences."""
    optimizer = optimizers.Adam(0.05)
    inputs = toy_inputs()

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            outputs = model(*inputs, training=True)
            loss = tf.reduce_sum(model.tag_losses(outputs, TOY_TAGS, TOY_LENGTHS))
            if "label_logits" in outputs:
                loss += tf.reduce_sum(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(TOY_LABELS, outputs["label_logits"])
                )
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        step()


LEARNERS: dict[str, dict[str, Any]] = {
    "plain": {"labels": len(TAGS)},
    "crf": {"crf": True},
    "recurrent": {"character_features": "recurrent", "vocabulary_size": 2},
    "convolution": {"character_features": "convolution", "vocabulary_size": 2, "crf": True, "cell": "gru"},
}


@pytest.fixture(scope="module")
def trained() -> dict[str, Tagger]:
    """Return models that were trained on the toy sentences."""
    models = {}
    for name, settings in LEARNERS.items():
        utils.set_random_seed(1)
        models[name] = tagger(**{"vocabulary_size": 20, "tags": len(TAGS), "units": 8, **settings})
        if settings.get("vocabulary_size") == 2:  # all words are unknown: their letters alone tell them apart
            models[name].word_dropout.rate = 1.0
        train(models[name])
    return models


@pytest.mark.parametrize("name", LEARNERS)
def test_learns_the_toy_sentences(trained: dict[str, Tagger], name: str) -> None:
    """Six sentences of ambiguous words are learned by heart, from words or characters alone."""
    model = trained[name]
    token_ids, *others = toy_inputs()
    if LEARNERS[name].get("vocabulary_size") == 2:
        token_ids = tf.fill(tf.shape(token_ids), UNKNOWN_ID)
    outputs = model(token_ids, *others)

    np.testing.assert_array_equal(model.decode(outputs, TOY_LENGTHS), TOY_TAGS)
    if name == "plain":
        np.testing.assert_array_equal(np.argmax(outputs["label_logits"], axis=-1), TOY_LABELS)


def test_toy_sentences_need_a_memory() -> None:
    """Without recurrent layers a word has one tag, so the toy sentences need recurrence."""
    model = randomized(layers=0, character_features="recurrent")
    token_ids, *others = toy_inputs()
    emissions = model(token_ids, *others)["emissions"]
    first, second = (emissions[token_ids == WORDS.index(word) + 2].numpy() for word in ("can", "fish"))

    assert np.ptp(first, axis=0).max() < 1e-5
    assert np.abs(first[0] - second[0]).max() > 0.01


@each_character_features
def test_every_weight_learns(character_features: str) -> None:
    """Every weight has a gradient; of the embeddings only those of real words and characters."""
    model = randomized(character_features=character_features, labels=2, crf=True, layers=2)
    inputs = batch(steps=2, letters=2, fill=1)
    tags = tf.zeros(inputs[0].shape, tf.int32)
    with tf.GradientTape() as tape:
        outputs = model(*inputs)
        loss = tf.reduce_sum(model.tag_losses(outputs, tags, inputs[1])) + tf.reduce_sum(
            outputs["label_logits"][:, 0]
        )
    found = dict(
        zip(
            (v.path for v in model.trainable_variables),
            tape.gradient(loss, model.trainable_variables),
            strict=True,
        )
    )
    moved = {path: np.flatnonzero(np.any(tf.convert_to_tensor(g), axis=-1)) for path, g in found.items()}
    token_ids, lengths, word_types, characters, character_lengths = (part.numpy() for part in inputs)
    used = {form for row, length in enumerate(lengths) for form in word_types[row, :length]}

    assert all(rows.size for rows in moved.values())
    of_words, *of_letters = (rows for path, rows in moved.items() if path.endswith("embeddings"))
    assert {*of_words} == {i for row, length in enumerate(lengths) for i in token_ids[row, :length]}
    assert len(of_letters) == (character_features != "none")
    for rows in of_letters:
        read = {letter for form in used for letter in characters[form, : character_lengths[form]]}
        # Not every letter is a filter's maximum.
        assert {*rows} == read if character_features == "recurrent" else {*rows} <= read


@pytest.mark.parametrize("layer", ["feature_dropout", "head_dropout", "label_dropout"])
def test_dropout_is_on_in_training(layer: str) -> None:
    """Without features, all tokens have equal outputs; without the input of a head, its bias remains."""
    model = randomized(dropout=0.5, labels=2, layers=0, character_features="recurrent")
    for name in ("feature_dropout", "head_dropout", "label_dropout"):
        getattr(model, name).rate = 0.0
    inputs = batch()
    before, same = model(*inputs), model(*inputs, training=True)
    np.testing.assert_allclose(same["emissions"], before["emissions"], rtol=1e-5)
    getattr(model, layer).rate = 1.0
    outputs = model(*inputs, training=True)
    changed = {name for name in outputs if np.abs(outputs[name] - before[name]).max() > 0.01}

    assert (
        changed
        == {
            "feature_dropout": {"emissions", "label_logits"},
            "head_dropout": {"emissions"},
            "label_dropout": {"label_logits"},
        }[layer]
    )
    heads = {"emissions": model.head, "label_logits": model.label_head}
    for name in changed:
        np.testing.assert_allclose(outputs[name] - heads[name].bias, np.zeros(outputs[name].shape), atol=1e-5)


def test_recurrent_layers_drop_too() -> None:
    """Dropout applies between layers, and recurrent dropout within them."""
    for rates in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        model = randomized(layers=2, **rates)
        model.feature_dropout.rate = model.head_dropout.rate = 0.0
        change = model(*batch(), training=True)["emissions"] - model(*batch())["emissions"]
        assert np.abs(change).max() > 1e-3


def test_word_dropout_spares_the_letters() -> None:
    """If all words are dropped, they are unknown tokens with unchanged characters."""
    model = randomized(character_features="recurrent")
    model.word_dropout.rate = 1.0
    token_ids, *others = batch()
    unknown = model(tf.fill(token_ids.shape, UNKNOWN_ID), *others)["emissions"]

    np.testing.assert_allclose(model(token_ids, *others, training=True)["emissions"], unknown, rtol=1e-5)
    assert np.abs(model(token_ids, *others)["emissions"] - unknown).max() > 1e-3
    assert np.ptp(real(unknown), axis=0).max() > 1e-3


VARIANTS: dict[str, dict[str, Any]] = {
    "layers": {"layers": 3, "merge_mode": "mul", "activation": "relu"},
    "no_layers": {"layers": 0, "character_features": "convolution", "labels": 2},
    "dropout": {"dropout": 0.5, "recurrent_dropout": 0.5, "word_dropout": 0.5, "allowed": BIO},
    "all": {"cell": "gru", "character_features": "recurrent", "labels": 2, "crf": True, "allowed": BIO},
    "spans": {"inside": [-1, 2, 2], "tag_scheme": "bioes", "crf": True},
}

IN_FRESH_PROCESS = """
import json, pathlib, sys
import keras
import tensorflow as tf
import models.tagger

folder, *inputs = json.loads(sys.argv[1])
inputs = [tf.constant(part) for part in inputs]
found = {}
for path in pathlib.Path(folder).glob("*.keras"):
    model = keras.saving.load_model(path)
    outputs = model(*inputs)
    outputs["tags"] = model.decode(outputs, inputs[1])
    found[path.stem] = {name: values.numpy().tolist() for name, values in outputs.items()}
print(json.dumps(found))
"""


def test_same_numbers_in_a_fresh_process(trained: dict[str, Tagger], tmp_path: Path) -> None:
    """Each kind of model, loaded in a fresh process, computes the same outputs."""
    saved = {
        "trained": trained["crf"],
        **{name: randomized(**settings) for name, settings in VARIANTS.items()},
    }
    for name, model in saved.items():
        model.save(tmp_path / f"{name}.keras")
    inputs = batch(steps=2)
    result = subprocess.run(
        [
            *(sys.executable, "-c", IN_FRESH_PROCESS),
            json.dumps([str(tmp_path), *(part.numpy().tolist() for part in inputs)]),
        ],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    loaded = json.loads(result.stdout.splitlines()[-1])

    assert loaded.keys() == saved.keys()
    for name, model in saved.items():
        outputs = model(*inputs)
        np.testing.assert_array_equal(loaded[name].pop("tags"), model.decode(outputs, inputs[1]))
        assert loaded[name].keys() == outputs.keys()
        for output, values in outputs.items():
            np.testing.assert_allclose(loaded[name][output], values, rtol=1e-6, atol=1e-6, err_msg=name)
