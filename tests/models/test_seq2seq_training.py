from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_cells import Array
from seq2seq_models import (
    TARGET_LENGTHS,
    batch,
    each_attention,
    each_feeding,
    model_of,
    randomized,
)

from models.losses import token_cross_entropy
from models.seq2seq import Seq2Seq
from models.text.tokens import END_ID, UNKNOWN_ID

STEPS_AT_ONCE, MOST_STEPS = 20, 400
"""Steps between two checks of a toy training, and at most: most cells need 20 to 60 of them."""

# Digits to reverse; 0 and 1 are special ids and 2 is the end token.
TOY = ["34567", "76543", "5", "354", "4536", "77"]


def nats_and_gradients(model: Seq2Seq, padding: int, padding_id: int = 0) -> tuple[Array, list[Array]]:
    """Return each row's loss, and the gradients of their sum for all weights."""
    source, lengths, target = batch(padding, padding_id)
    with tf.GradientTape() as tape:
        real = tf.sequence_mask(TARGET_LENGTHS, target.shape[1])
        nats = tf.reduce_sum(token_cross_entropy(model(source, lengths, target), target, real, 0.1), axis=1)
        loss = tf.reduce_sum(nats)
    gradients = tape.gradient(loss, model.trainable_variables)
    return nats.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


@each_attention
@each_feeding
def test_padding_changes_nothing(attention: str, input_feeding: bool) -> None:
    """Neither the amount nor the content of padding changes a row's loss or any gradient."""
    model = randomized(attention=attention, input_feeding=input_feeding, layers=2)
    nats, gradients = nats_and_gradients(model, padding=0)
    padded_nats, padded_gradients = nats_and_gradients(model, padding=3, padding_id=7)

    np.testing.assert_allclose(padded_nats, nats, rtol=1e-5)
    for weight, padded, plain in zip(model.trainable_variables, padded_gradients, gradients, strict=True):
        assert np.any(plain), weight.path
        np.testing.assert_allclose(padded, plain, rtol=1e-4, atol=1e-5, err_msg=weight.path)


@pytest.mark.parametrize("attention", ["additive", "none"])
def test_one_graph_for_all_shapes(attention: str) -> None:
    """A graph of unknown sizes computes the gradients of eager steps."""
    model = randomized(cell="gru", attention=attention, bidirectional=False)
    ids, lengths = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)

    def gradients(source: tf.Tensor, lengths: tf.Tensor, target: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(source, lengths, target, training=True) ** 2)
        found = tape.gradient(loss, model.trainable_variables)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    graph = tf.function(gradients, input_signature=[ids, lengths, ids])
    graph(*(each[:1] for each in batch(padding=1)))
    for got, wanted in zip(graph(*batch()), gradients(*batch()), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def greedy(model: Seq2Seq, source: tf.Tensor, lengths: tf.Tensor, most: int = 10) -> list[str]:
    """Return the digits that the model decodes to."""
    state = model.encode(source, lengths)
    ids = tf.fill([source.shape[0]], END_ID)
    written = []
    for _ in range(most):
        logits, state = model.step(ids, state)
        ids = tf.argmax(logits, axis=1, output_type=tf.int32)
        written.append(ids.numpy())
    return ["".join(map(str, row)).split(str(END_ID))[0] for row in np.transpose(written)]


@pytest.mark.parametrize(
    ("cell", "attention", "input_feeding"),
    [
        ("lstm", "multiplicative", True),
        ("gru", "additive", False),
        ("gru", "none", False),
        ("mingru", "additive", True),
    ],
)
def test_learns_to_reverse(cell: str, attention: str, input_feeding: bool) -> None:
    """The model learns to reverse six rows of digits.

    It is not right after every number of steps: at this learning rate it is wrong again now and then, at a
    step that depends on how the machine rounds.
    """
    keras.utils.set_random_seed(0)
    model = model_of(
        source_vocabulary_size=8,
        target_vocabulary_size=8,
        embedding_size=16,
        units=16,
        cell=cell,
        bidirectional=input_feeding,
        attention=attention,
        input_feeding=input_feeding,
        shared=True,
    )
    source = tf.ragged.constant([[int(d) for d in text] for text in TOY], dtype=tf.int32)
    target = tf.ragged.constant(
        [[END_ID, *(int(d) for d in reversed(text)), END_ID] for text in TOY], dtype=tf.int32
    ).to_tensor()
    source, lengths = source.to_tensor(), tf.cast(source.row_lengths(), tf.int32)
    optimizer = keras.optimizers.Adam(0.02)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = model(source, lengths, target[:, :-1], training=True)
            real = tf.sequence_mask(lengths + 1, target.shape[1] - 1)
            nats = token_cross_entropy(logits, target[:, 1:], real, 0.1)
            loss = tf.reduce_sum(nats) / tf.reduce_sum(tf.cast(lengths + 1, tf.float32))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    optimizer.build(model.trainable_variables)
    for _ in range(MOST_STEPS // STEPS_AT_ONCE):
        for _ in range(STEPS_AT_ONCE):
            step()
        written = greedy(model, source, lengths)
        if written == [text[::-1] for text in TOY]:
            return
    pytest.fail(f"after {MOST_STEPS} steps the model writes {written}")


def test_inference_drops_nothing() -> None:
    """Outside of training, no kind of dropout changes the logits."""
    dropping = {"dropout": 0.5, "recurrent_dropout": 0.5, "word_dropout": 0.5}

    np.testing.assert_allclose(randomized(**dropping)(*batch()), randomized()(*batch()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("attention", "input_feeding"), [("multiplicative", True), ("none", False)])
@pytest.mark.parametrize("dropped", ["dropout", "recurrent_dropout", "word_dropout"])
def test_training_drops(dropped: str, attention: str, input_feeding: bool) -> None:
    """In training, each kind of dropout changes the logits, differently at each step."""
    model = randomized(**{dropped: 0.5}, attention=attention, input_feeding=input_feeding, layers=2)
    plain = model(*batch())
    first, second = (model(*batch(), training=True) for _ in range(2))

    assert np.abs(first - plain).max() > 0.01
    assert np.abs(first - second).max() > 0.01


def test_word_dropout_on_both_sides() -> None:
    """If all words are dropped, source and target are unknown tokens."""
    model = randomized()
    model.source_word_dropout.rate = model.target_word_dropout.rate = 1.0
    source, lengths, target = batch()
    unknown = model(tf.fill(source.shape, UNKNOWN_ID), lengths, tf.fill(target.shape, UNKNOWN_ID))

    np.testing.assert_allclose(model(source, lengths, target, training=True), unknown, rtol=1e-5, atol=1e-6)
