from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from each_cell import each_cell_with
from language_models import (
    Array,
    assert_close,
    batch,
    model,
)

from models.decoding.beam import beam_search
from models.decoding.sampling import sample
from models.language_model import LanguageModel
from models.layers.cells import CELLS
from models.text.tokens import END_ID


@pytest.fixture(autouse=True)
def seed() -> None:
    """Set the random seed, so that each run draws the same numbers."""
    keras.utils.set_random_seed(1)


def train(made: LanguageModel, rows: Array, labels: Any = None, steps: int = 120) -> float:
    """Train on rows that all start a document; return the last loss in nats a token."""
    optimizer = keras.optimizers.Adam(0.02)
    read = np.concatenate([np.full([len(rows), 1], END_ID), rows[:, :-1]], axis=1)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits, _ = made(read, None, labels, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=rows, logits=logits))
        variables = made.trainable_variables
        gradients = tape.gradient(loss, variables)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply(gradients, variables)
        return loss

    for _ in range(steps):
        loss = step()
    return float(loss)


@pytest.mark.parametrize(
    ("cell", "tie_embeddings"),
    [*((cell, False) for cell in CELLS), ("lstm", True)],
)
def test_learns_a_text(cell: str, tie_embeddings: bool) -> None:
    """A text whose tokens depend on earlier ones is learned by heart and generated."""
    text = np.array([[3, 4, 5, 3, 4, 6, 3, 4, 7, 3, 8, END_ID]], np.int32)
    made = model(cell=cell, units=16, embedding_size=8, tie_embeddings=tie_embeddings)

    assert train(made, text) < 0.05
    nats = float(made.score(text, np.array([12]))[0][0])
    assert nats < 12 * 0.05
    logits, state = made.prefill([[END_ID, 3], [END_ID, 0]], [2, 1])
    ids, lengths, log_p, *_ = sample(made.step, state, logits, length=30, temperature=0.0, end_id=END_ID)
    assert ids.numpy().tolist() == [[4, 5, 3, 4, 6, 3, 4, 7, 3, 8, 0], text[0, :-1].tolist()]
    assert lengths.numpy().tolist() == [10, 11]
    assert float(log_p[1]) == pytest.approx(-nats, abs=1e-4)
    found, _, scores = beam_search(made.step, state, logits, end_id=END_ID, max_length=30, width=3)
    assert found[1, 0, :11].numpy().tolist() == text[0, :-1].tolist()
    assert float(scores[1, 0]) == pytest.approx(-nats, abs=1e-4)


def test_learns_what_labels_mean() -> None:
    """Texts that differ only in their labels are learned; "no label" counts as a label."""
    made = model(cell="gru", units=16, embedding_size=8, labels=2)
    rows = np.array([[3, 4, 5], [6, 7, 8], [9, 10, 9]], np.int32)

    assert train(made, rows, np.array([0, 1, 2])) < 0.05
    for label, text in zip(([0], [1], None), rows, strict=True):
        logits, state = made.prefill([[END_ID]], [1], labels=label)
        ids, *_ = sample(
            lambda ids, state, label=label: made.step(ids, state, label),
            state,
            logits,
            length=3,
            temperature=0.0,
        )
        assert ids[0].numpy().tolist() == text.tolist()


@each_cell_with("weight_dropout")
def test_weight_dropout(cell: str) -> None:
    """In training, the same recurrent weights are dropped for all rows and steps; others are scaled."""
    made = model(cell=cell, units=40, weight_dropout=0.4)
    kernel = made.recurrent[0].cell.recurrent_kernel
    before = kernel.numpy()
    rows = tf.constant([[3, 4, 5, 6, 7]] * 6)
    with tf.GradientTape() as tape:
        logits, _ = made(rows, training=True)
    gradient = tape.gradient(logits, kernel).numpy()
    dropped = gradient == 0

    assert abs(dropped.mean() - 0.4) < 0.06
    for row in logits[1:]:
        np.testing.assert_allclose(row, logits[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(kernel, before)
    # What is left grows so that the mean stays: with just these weights, a model out of training is the same.
    thinned = model(cell=cell, units=40)
    for variable, other in zip(thinned.trainable_variables, made.trainable_variables, strict=True):
        variable.assign(other)
    thinned.recurrent[0].cell.recurrent_kernel.assign(np.where(dropped, 0, before / 0.6))
    assert_close(logits, thinned(rows)[0])


@each_cell_with("weight_dropout", "recurrent_dropout")
def test_training_alone_drops(cell: str) -> None:
    """Each kind of dropout changes the logits in training only."""
    kinds = ("dropout", "weight_dropout", "recurrent_dropout", "word_dropout")
    plain = model(cell=cell, layers=2)
    token_ids, lengths = batch()
    expected = plain(token_ids)
    assert_close(plain(token_ids, training=True), expected)

    dropping = model(cell=cell, layers=2, **dict.fromkeys(kinds, 0.5))
    assert_close(dropping(token_ids), expected)
    assert_close(dropping.prefill(token_ids, lengths), plain.prefill(token_ids, lengths))
    for kind in kinds:
        logits, _ = model(cell=cell, layers=2, **{kind: 0.5})(token_ids, training=True)
        assert np.abs(logits - expected[0]).max() > 0.1


def test_dropout_starts_where_it_was_left() -> None:
    """All random state is in the variables of the model: if restored, dropout is repeated."""
    made = model(layers=2, dropout=0.3, weight_dropout=0.4, recurrent_dropout=0.2, word_dropout=0.2)
    step = tf.function(lambda: made(batch()[0], training=True)[0])
    step()
    left = [variable.numpy() for variable in made.variables]
    after = [step().numpy() for _ in range(3)]
    for variable, value in zip(made.variables, left, strict=True):
        variable.assign(value)

    for logits in after:
        np.testing.assert_array_equal(step(), logits)
    assert np.abs(after[0] - after[1]).max() > 0.01


@pytest.mark.parametrize("kind", ["weight_dropout", "recurrent_dropout"])
def test_each_step_drops_anew(kind: str) -> None:
    """A graph drops different units and weights at each call."""
    made = model(**{"weight_dropout": 1e-9, kind: 0.5})
    step = tf.function(lambda: made(batch()[0], training=True)[0])

    assert np.abs(step() - step()).max() > 0.01
