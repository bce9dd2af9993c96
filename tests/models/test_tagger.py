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
from numpy.typing import NDArray

from models.layers.cells import CELLS, get_cell
from models.settings import TaggerSettings
from models.tagger import CharacterEncoder, Tagger
from models.text.tokens import UNKNOWN_ID

Array = NDArray[np.float64]

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


def ragged(rows: list[list[int]]) -> tf.Tensor:
    """Return int32 rows padded with 0."""
    return tf.ragged.constant(rows, dtype=tf.int32).to_tensor()


def toy_inputs() -> tuple[tf.Tensor, ...]:
    rows = [[WORDS.index(word) for word in text.split()] for text in TOY]
    spelled = [[ord(letter) - ord("a") + 2 for letter in word] for word in WORDS]
    token_ids = ragged([[i + 2 for i in row] for row in rows])
    return token_ids, TOY_LENGTHS, ragged(rows), ragged(spelled), tf.constant([len(form) for form in spelled])


TOY_TAGS = ragged([[TAGS.index(tag) for tag in tags.split()] for tags in TOY.values()])


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
    """Return rows of random tokens of four forms, the same with more steps, letters and unused forms.

    What is added holds `fill`; forms of padded steps stay within the forms that there are.
    """
    token_ids = np.full((len(LENGTHS), max(LENGTHS) + steps), fill)
    forms = np.full(token_ids.shape, fill % 4)
    for row, length in enumerate(LENGTHS):
        token_ids[row, :length] = np.random.default_rng([1, row]).integers(2, 20, length)
        forms[row, :length] = np.random.default_rng([2, row]).integers(0, 4, length)
    character_lengths = [4, 1, 6, 2, *range(1, unused + 1)]
    characters = np.full((len(character_lengths), 6 + letters), fill)
    for form, length in enumerate(character_lengths):
        characters[form, :length] = np.random.default_rng([3, form]).integers(2, 30, length)
    parts = (token_ids, np.array(LENGTHS), forms, characters, np.array(character_lengths))
    return tuple(tf.constant(part, tf.int32) for part in parts)


def real(values: tf.Tensor) -> Array:
    """Return the values of real tokens only, one row after the other."""
    return np.concatenate([values[row, :length].numpy() for row, length in enumerate(LENGTHS)])


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
    """Return models that have learnt the toy sentences."""
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
    """Six sentences whose words have several tags are learnt by heart, from words or from letters alone."""
    model = trained[name]
    token_ids, *others = toy_inputs()
    if LEARNERS[name].get("vocabulary_size") == 2:
        token_ids = tf.fill(tf.shape(token_ids), UNKNOWN_ID)
    outputs = model(token_ids, *others)

    np.testing.assert_array_equal(model.decode(outputs, TOY_LENGTHS), TOY_TAGS)
    if name == "plain":
        np.testing.assert_array_equal(np.argmax(outputs["label_logits"], axis=-1), TOY_LABELS)


def test_toy_sentences_need_a_memory() -> None:
    """Without recurrent layers a word has one tag, wherever it stands, so the test above tests something."""
    model = randomized(layers=0, character_features="recurrent")
    token_ids, *others = toy_inputs()
    emissions = model(token_ids, *others)["emissions"]
    first, second = (emissions[token_ids == WORDS.index(word) + 2].numpy() for word in ("can", "fish"))

    assert np.ptp(first, axis=0).max() < 1e-5
    assert np.abs(first[0] - second[0]).max() > 0.01


@each_character_features
@each_crf
@pytest.mark.parametrize("layers", [0, 1])
def test_padding_changes_nothing(character_features: str, crf: bool, layers: int) -> None:
    """Neither more steps, nor more letters, nor unused forms, nor what these hold, change anything."""
    model = randomized(character_features=character_features, crf=crf, labels=2, layers=layers, allowed=BIO)
    inputs = batch()
    lengths = inputs[1]
    outputs = model(*inputs)
    tags = tf.constant(
        np.random.default_rng(0).integers(0, TAG_COUNT, (len(LENGTHS), max(LENGTHS))), tf.int32
    )

    assert outputs["label_logits"].shape == [len(LENGTHS), 2]
    assert outputs["emissions"].shape == [len(LENGTHS), max(LENGTHS), TAG_COUNT]
    for steps, letters, unused, fill in ((2, 0, 0, 7), (0, 3, 0, 7), (0, 0, 5, 0), (3, 9, 5, 1)):
        padded = model(*batch(steps, letters, unused, fill))
        more_tags = tf.pad(tags, [[0, 0], [0, steps]], constant_values=TAG_COUNT - 1)
        np.testing.assert_allclose(
            real(padded["emissions"]), real(outputs["emissions"]), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(padded["label_logits"], outputs["label_logits"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            model.tag_losses(padded, more_tags, lengths),
            model.tag_losses(outputs, tags, lengths),
            rtol=1e-4,
            atol=1e-5,
        )
        decoded = model.decode(padded, lengths)
        assert decoded.shape == more_tags.shape
        np.testing.assert_array_equal(real(decoded), real(model.decode(outputs, lengths)))
        assert np.sum(decoded) == np.sum(real(decoded))
        probabilities = model.tag_probabilities(padded, lengths)
        np.testing.assert_allclose(
            real(probabilities), real(model.tag_probabilities(outputs, lengths)), rtol=1e-3, atol=1e-5
        )
        assert np.sum(probabilities) == pytest.approx(sum(LENGTHS), rel=1e-5)


@each_character_features
def test_order_does_not_matter(character_features: str) -> None:
    """Rows in another order give the same in that order; forms in another order change nothing."""
    model = randomized(character_features=character_features, labels=2, crf=True)
    token_ids, lengths, forms, characters, character_lengths = batch()
    outputs = model(token_ids, lengths, forms, characters, character_lengths)
    rows, spelling = [2, 0, 3, 1], tf.constant([3, 1, 0, 2])
    shuffled = model(
        *(tf.gather(part, rows) for part in (token_ids, lengths)),
        tf.gather(tf.argsort(spelling), tf.gather(forms, rows)),
        *(tf.gather(part, spelling) for part in (characters, character_lengths)),
    )

    np.testing.assert_allclose(
        shuffled["label_logits"], tf.gather(outputs["label_logits"], rows), rtol=1e-4, atol=1e-5
    )
    for i, row in enumerate(rows):
        length = LENGTHS[row]
        np.testing.assert_allclose(
            shuffled["emissions"][i, :length], outputs["emissions"][row, :length], rtol=1e-4, atol=1e-5
        )


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


def float64(weights: list[Any]) -> list[Array]:
    return [np.asarray(weight, np.float64) for weight in weights]


def test_forward_pass() -> None:
    """Words beside letters, a bidirectional LSTM and both heads are what NumPy makes of the weights."""
    model = randomized(character_features="recurrent", labels=2)
    assert model.character_encoder is not None
    embedding, *others = float64(model.embedding.get_weights() + model.recurrent.get_weights())
    letters, *letters_lstm = float64(model.character_encoder.get_weights())
    (head, bias), (label_head, label_bias) = (
        float64(layer.get_weights()) for layer in (model.head, model.label_head)
    )
    token_ids, lengths, forms, characters, character_lengths = (part.numpy() for part in batch())
    spelled = []
    for form, length in zip(characters, character_lengths, strict=True):
        steps = letters[form[:length]]
        ahead, behind = lstm(steps, *letters_lstm[:3]), lstm(steps[::-1], *letters_lstm[3:])
        spelled.append(np.concatenate([ahead[-1], behind[-1]]))
    outputs = model(*batch())

    for row, length in enumerate(lengths):
        features = np.concatenate(
            [embedding[token_ids[row, :length]], np.array(spelled)[forms[row, :length]]], axis=1
        )
        ahead, behind = lstm(features, *others[:3]), lstm(features[::-1], *others[3:])[::-1]
        steps = np.concatenate([ahead, behind], axis=1)
        pooled = np.concatenate([steps.max(axis=0), steps.mean(axis=0)])
        np.testing.assert_allclose(
            outputs["emissions"][row, :length], steps @ head + bias, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            outputs["label_logits"][row], pooled @ label_head + label_bias, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("units", "filters"), [(7, [2, 2, 3]), (2, [1, 1]), (1, [1]), (50, [16, 17, 17])])
def test_convolution(units: int, filters: list[int]) -> None:
    """Each filter's maximum is over all places that touch the form, zeros standing around it."""
    encoder = CharacterEncoder("convolution", vocabulary_size=30, embedding_size=5, units=units)
    encoder.build()
    generator = np.random.default_rng(0)
    encoder.set_weights([generator.normal(size=weight.shape) for weight in encoder.get_weights()])
    embedding, *layers = float64(encoder.get_weights())
    *_, characters, character_lengths = batch(letters=2, fill=9)
    found = encoder(characters, character_lengths)

    assert encoder.output_size == units
    assert [layer.filters for layer in encoder.filters] == filters
    for form, length in enumerate(character_lengths.numpy()):
        expected = []
        for kernel, bias in zip(layers[::2], layers[1::2], strict=True):
            width = len(kernel)
            steps = np.pad(embedding[characters[form, :length].numpy()], [[width - 1, width - 1], [0, 0]])
            places = [np.einsum("wd,wdf->f", steps[i : i + width], kernel) for i in range(length + width - 1)]
            expected.append(np.tanh(np.max(places, axis=0) + bias))
        np.testing.assert_allclose(found[form], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_tag_losses() -> None:
    """Without a CRF a row's loss is the sum of its tokens' cross entropies; with one, its path's."""
    inputs = batch(steps=1)
    lengths = inputs[1]
    tags = tf.constant(np.random.default_rng(0).integers(0, TAG_COUNT, inputs[0].shape), tf.int32)
    plain, joint = randomized(), randomized(crf=True)
    assert joint.crf is not None
    outputs = plain(*inputs)
    found = plain.tag_losses(outputs, tags, lengths)

    assert (found.shape, found.dtype) == ([len(LENGTHS)], tf.float32)
    for row, length in enumerate(LENGTHS):
        log_probabilities = tf.nn.log_softmax(outputs["emissions"][row, :length]).numpy()
        expected = -log_probabilities[np.arange(length), tags[row, :length]].sum()
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)
    outputs = joint(*inputs)
    of_paths = joint.crf.log_likelihood(outputs["emissions"], tags, lengths)
    np.testing.assert_allclose(joint.tag_losses(outputs, tags, lengths), -of_paths)
    assert np.abs(joint.tag_losses(outputs, tags, lengths) - found).min() > 0.01


def test_decode_without_constraints() -> None:
    """Without a CRF and without constraints each token stands for itself."""
    model = randomized()
    outputs = model(*batch())
    found = model.decode(outputs, tf.constant(LENGTHS))

    assert outputs.keys() == {"emissions"}
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(real(found), np.argmax(real(outputs["emissions"]), axis=1))
    assert not found[1, 1:].numpy().any()
    probabilities = model.tag_probabilities(outputs, tf.constant(LENGTHS))
    np.testing.assert_allclose(real(probabilities), tf.nn.softmax(real(outputs["emissions"])), rtol=1e-5)


@each_crf
def test_constraints_hold_untrained(crf: bool) -> None:
    """No forbidden neighbours are decoded, where without constraints there are some."""

    def broken(allowed: Any) -> int:
        model = randomized(crf=crf, allowed=allowed, units=1, activation="relu")
        token_ids = tf.constant(np.random.default_rng(0).integers(2, 20, (40, 9)), tf.int32)
        lengths = tf.fill([40], 9)
        outputs = model(token_ids, lengths)
        outputs["emissions"] = tf.random.stateless_normal(outputs["emissions"].shape, [1, 2]) * 1e6
        tags = model.decode(outputs, lengths).numpy()
        assert len(np.unique(tags)) == TAG_COUNT
        probabilities = model.tag_probabilities(outputs, lengths).numpy()
        assert np.isfinite(probabilities).all()
        if allowed:
            assert not probabilities[:, 0, 2].any()
        return int((tags[:, 0] == 2).sum() + ((tags[:, :-1] == 0) & (tags[:, 1:] == 2)).sum())

    assert broken(BIO) == 0
    assert broken(None) > 20


@each_character_features
def test_every_weight_learns(character_features: str) -> None:
    """The losses give every weight a gradient, and the embeddings only of what is read."""
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
    token_ids, lengths, forms, characters, character_lengths = (part.numpy() for part in inputs)
    used = {form for row, length in enumerate(lengths) for form in forms[row, :length]}

    assert all(rows.size for rows in moved.values())
    of_words, *of_letters = (rows for path, rows in moved.items() if path.endswith("embeddings"))
    assert {*of_words} == {i for row, length in enumerate(lengths) for i in token_ids[row, :length]}
    assert len(of_letters) == (character_features != "none")
    for rows in of_letters:
        read = {letter for form in used for letter in characters[form, : character_lengths[form]]}
        # Not every letter is a filter's maximum.
        assert {*rows} == read if character_features == "recurrent" else {*rows} <= read


def test_dropout_is_off_in_inference() -> None:
    """Out of training, no kind of dropout changes what comes out."""
    settings: dict[str, Any] = {"layers": 2, "character_features": "recurrent", "labels": 2}
    dropping = randomized(**settings, dropout=0.5, recurrent_dropout=0.5, word_dropout=0.5)
    expected = randomized(**settings)(*batch())

    for outputs in (dropping(*batch()), dropping(*batch(), training=False)):
        for name, values in outputs.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", ["feature_dropout", "head_dropout", "label_dropout"])
def test_dropout_is_on_in_training(layer: str) -> None:
    """With all features dropped all tokens look alike; before a head, its bias stays."""
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
    """Features are dropped between layers and states within them."""
    for rates in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        model = randomized(layers=2, **rates)
        model.feature_dropout.rate = model.head_dropout.rate = 0.0
        change = model(*batch(), training=True)["emissions"] - model(*batch())["emissions"]
        assert np.abs(change).max() > 1e-3


def test_word_dropout_spares_the_letters() -> None:
    """With all words dropped, a text in training is one of unknown tokens, spelled as before."""
    model = randomized(character_features="recurrent")
    model.word_dropout.rate = 1.0
    token_ids, *others = batch()
    unknown = model(tf.fill(token_ids.shape, UNKNOWN_ID), *others)["emissions"]

    np.testing.assert_allclose(model(token_ids, *others, training=True)["emissions"], unknown, rtol=1e-5)
    assert np.abs(model(token_ids, *others)["emissions"] - unknown).max() > 1e-3
    assert np.ptp(real(unknown), axis=0).max() > 1e-3


def test_label_smoothing() -> None:
    """Without a CRF the loss of tags is that with smoothed targets; a CRF has whole sequences as targets."""
    tags = batch()[0] % TAG_COUNT
    lengths = tf.constant(LENGTHS)
    softmax, crf = randomized(), randomized(crf=True)
    outputs = softmax(*batch()[:2])
    log_p = tf.nn.log_softmax(outputs["emissions"]).numpy()
    for row, length in enumerate(LENGTHS):
        wanted = 0.7 * np.eye(TAG_COUNT)[tags[row, :length].numpy()] + 0.3 / TAG_COUNT
        found = softmax.tag_losses(outputs, tags, lengths, 0.3)[row]
        np.testing.assert_allclose(found, -(wanted * log_p[row, :length]).sum(), rtol=1e-5)
    outputs = crf(*batch()[:2])
    np.testing.assert_array_equal(
        crf.tag_losses(outputs, tags, lengths, 0.3), crf.tag_losses(outputs, tags, lengths)
    )


@pytest.mark.parametrize("cell", ["simple", "gru", "lstm"])
def test_portable(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable model gives the same numbers, and runs no layer of Keras."""
    model = randomized(cell=cell, layers=2, character_features="recurrent")
    before = model(*batch())["emissions"]
    model.make_portable()
    for each in map(get_cell, CELLS):
        monkeypatch.delattr(each.layer, "call")

    np.testing.assert_allclose(real(model(*batch())["emissions"]), real(before), rtol=1e-5, atol=1e-6)


def test_unknown_character_features() -> None:
    """Another way to read letters is refused, with those that there are."""
    with pytest.raises(ValueError, match="'recurrent' or 'convolution'"):
        tagger(character_features="bytes")


def test_config() -> None:
    """The configuration has every setting, survives JSON, and makes the same model again."""
    settings: dict[str, Any] = {
        "vocabulary_size": 20,
        "tags": TAG_COUNT,
        "embedding_size": 4,
        "cell": "gru",
        "units": 3,
        "labels": 2,
        "character_features": "convolution",
        "character_vocabulary_size": 30,
        "character_embedding_size": 5,
        "character_units": 6,
        "layers": 2,
        "bidirectional": True,
        "merge_mode": "ave",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "word_dropout": 0.3,
        "activation": "relu",
        "crf": True,
        "allowed": BIO,
    }
    model = randomized(**settings, name="entities")
    again = Tagger.from_config(json.loads(json.dumps(model.get_config())))
    again.build()
    again.set_weights(model.get_weights())

    assert again.name == "entities"
    assert {**again.settings.model_dump(), **again.arguments} == settings
    assert again.recurrent.settings == model.recurrent.settings
    assert again.recurrent.settings.recurrent_dropout == 0.2
    assert again.recurrent.settings.dropout == 0.1
    assert again.crf is not None
    assert again.crf.settings == {"tags": TAG_COUNT, "allowed": BIO}
    assert again.word_dropout.rate == 0.3
    np.testing.assert_array_equal(again(*batch())["emissions"], model(*batch())["emissions"])


VARIANTS: dict[str, dict[str, Any]] = {
    "layers": {"layers": 3, "merge_mode": "mul", "activation": "relu"},
    "no_layers": {"layers": 0, "character_features": "convolution", "labels": 2},
    "dropout": {"dropout": 0.5, "recurrent_dropout": 0.5, "word_dropout": 0.5, "allowed": BIO},
    "all": {"cell": "gru", "character_features": "recurrent", "labels": 2, "crf": True, "allowed": BIO},
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
    """Saved as `.keras` and loaded elsewhere, each kind of model gives what it gave here."""
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
