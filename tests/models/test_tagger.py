from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from each_cell import each_cell
from numpy_cells import Array, run_cell
from tagger_models import (
    BIO,
    LENGTHS,
    TAG_COUNT,
    batch,
    each_character_features,
    each_crf,
    randomized,
    real,
    tagger,
)

from models.layers.cells import CELLS, get_cell
from models.tagger import CharacterEncoder, Tagger


@each_character_features
@each_crf
@pytest.mark.parametrize("layers", [0, 1])
def test_padding_changes_nothing(character_features: str, crf: bool, layers: int) -> None:
    """Neither padded steps, nor padded characters, nor unused word types change any result."""
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
    """Neither the order of rows nor that of word types changes a row's result."""
    model = randomized(character_features=character_features, labels=2, crf=True)
    token_ids, lengths, word_types, characters, character_lengths = batch()
    outputs = model(token_ids, lengths, word_types, characters, character_lengths)
    rows, spelling = [2, 0, 3, 1], tf.constant([3, 1, 0, 2])
    shuffled = model(
        *(tf.gather(part, rows) for part in (token_ids, lengths)),
        tf.gather(tf.argsort(spelling), tf.gather(word_types, rows)),
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


def float64(weights: list[Any]) -> list[Array]:
    return [np.asarray(weight, np.float64) for weight in weights]


def test_forward_pass() -> None:
    """Outputs are those of word and character features, bidirectional LSTM and heads in NumPy."""
    model = randomized(character_features="recurrent", labels=2)
    assert model.character_encoder is not None
    embedding, *others = float64(model.embedding.get_weights() + model.recurrent.get_weights())
    letters, *letters_lstm = float64(model.character_encoder.get_weights())
    (head, bias), (label_head, label_bias) = (
        float64(layer.get_weights()) for layer in (model.head, model.label_head)
    )
    token_ids, lengths, word_types, characters, character_lengths = (part.numpy() for part in batch())
    spelled = []
    for form, length in zip(characters, character_lengths, strict=True):
        steps = letters[form[:length]]
        ahead, behind = (
            run_cell("lstm", letters_lstm[:3], steps),
            run_cell("lstm", letters_lstm[3:], steps[::-1]),
        )
        spelled.append(np.concatenate([ahead[-1], behind[-1]]))
    outputs = model(*batch())

    for row, length in enumerate(lengths):
        features = np.concatenate(
            [embedding[token_ids[row, :length]], np.array(spelled)[word_types[row, :length]]], axis=1
        )
        ahead, behind = (
            run_cell("lstm", others[:3], features),
            run_cell("lstm", others[3:], features[::-1])[::-1],
        )
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
    """The maximum of a filter is over all positions that overlap the word, padded with zeros."""
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
    """Without a CRF and constraints, each token has its most probable tag."""
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
    """No forbidden tag pair is decoded; without constraints some are."""

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


def test_dropout_is_off_in_inference() -> None:
    """Outside of training, no kind of dropout changes the outputs."""
    settings: dict[str, Any] = {"layers": 2, "character_features": "recurrent", "labels": 2}
    dropping = randomized(**settings, dropout=0.5, recurrent_dropout=0.5, word_dropout=0.5)
    expected = randomized(**settings)(*batch())

    for outputs in (dropping(*batch()), dropping(*batch(), training=False)):
        for name, values in outputs.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_label_smoothing() -> None:
    """Without a CRF the targets are smoothed; with a CRF label smoothing has no effect."""
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


@each_cell
def test_portable(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable model computes the same without the Keras layer of a cell with kernels."""
    model = randomized(cell=cell, layers=2, character_features="recurrent")
    before = model(*batch())["emissions"]
    model.make_portable()
    for each in map(get_cell, CELLS):
        if each.kernels:
            monkeypatch.delattr(each.layer, "call")

    np.testing.assert_allclose(real(model(*batch())["emissions"]), real(before), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["recurrent", "convolution"])
@pytest.mark.parametrize("count", [1, 4, 5, 11])
def test_words_are_encoded_in_parts(kind: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable encoder gives the same for any number of words, and never encodes more than some at once."""
    monkeypatch.setattr("models.tagger._WORDS_AT_ONCE", 4)
    encoder = CharacterEncoder(kind, vocabulary_size=9, embedding_size=3, units=4)
    encoder.build()
    random = np.random.default_rng(0)
    characters = tf.constant(random.integers(1, 9, (count, 6)), tf.int32)
    lengths = tf.constant(random.integers(1, 7, count), tf.int32)
    whole = encoder(characters, lengths)
    sizes = []
    encode = encoder._encode
    monkeypatch.setattr(encoder, "_encode", lambda *words: (sizes.append(len(words[1])), encode(*words))[1])
    encoder.make_portable()

    np.testing.assert_allclose(encoder(characters, lengths), whole, rtol=1e-5, atol=1e-6)
    assert max(sizes) <= 4
    assert sum(sizes) == count


def test_unknown_character_features() -> None:
    """Unknown character features are refused with the known ones."""
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
        "locked_dropout": True,
        "recurrent_dropout": 0.2,
        "word_dropout": 0.3,
        "activation": "relu",
        "crf": True,
        "tag_scheme": "bio",
        "token_features": 0,
        "calibrated": False,
        "inside": [],
        "allowed": BIO,
        "alphabet": [97, 0x4E00],
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
