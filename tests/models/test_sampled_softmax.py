from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from language_models import VOCABULARY, Array, batch, each_shape, labels_of, model

from models.language_model import LanguageModel
from models.losses import cross_entropy
from models.sampled_softmax import Samples, draw, sampled_logits
from models.text.tokens import END_ID

SIZE, NUMBER = 50, 12


@pytest.fixture(scope="module")
def many() -> list[tuple[Array, Array]]:
    """Return ids and probabilities of many draws."""
    seed = keras.random.SeedGenerator(1)
    step = tf.function(lambda: draw(SIZE, NUMBER, seed))
    return [(ids.numpy(), np.exp(log_shares)) for ids, log_shares in (step() for _ in range(3000))]


def test_samples_are_distinct_tokens_of_the_vocabulary(many: list[tuple[Array, Array]]) -> None:
    """A draw has N different ids; each id is drawn now and then, the first ones most often."""
    drawn = np.stack([ids for ids, _ in many])
    often = np.bincount(drawn.ravel(), minlength=SIZE)

    assert all(len(set(ids)) == NUMBER for ids in drawn)
    assert len(often) == SIZE
    assert often.min() > 0
    assert often[0] > often[5] > often[20]


def test_sums_over_samples_are_without_bias(many: list[tuple[Array, Array]]) -> None:
    """Divided by the probabilities, the sum over samples is on average that over the vocabulary."""
    values = np.random.default_rng(0).uniform(1, 3, SIZE)

    estimates = [(values[ids] / shares[ids]).sum() for ids, shares in many]

    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - values.sum()) < 3 * error
    assert error < 0.02 * values.sum()


def test_a_draw_depends_on_the_state_of_the_seed() -> None:
    """The same state draws the same samples; the next draw is another."""
    seed = keras.random.SeedGenerator(3)
    first, second = draw(SIZE, NUMBER, seed), draw(SIZE, NUMBER, seed)
    again = draw(SIZE, NUMBER, keras.random.SeedGenerator(3))

    np.testing.assert_array_equal(again.ids, first.ids)
    np.testing.assert_array_equal(again.log_shares, first.log_shares)
    assert second.ids.numpy().tolist() != first.ids.numpy().tolist()


@pytest.mark.parametrize("axis", [0, 1])
def test_logits_and_gradients_are_those_of_tensorflow(axis: int) -> None:
    """The loss is `tf.nn.sampled_softmax_loss` of the same samples, and so are its gradients."""
    generator = np.random.default_rng(0)
    table, bias, features = (
        tf.Variable(generator.normal(size=shape), dtype=tf.float32) for shape in ([9, 4], [9], [2, 3, 4])
    )
    targets = tf.constant([[1, 5, 2], [5, 8, 0]])
    shares = generator.uniform(0.1, 1, 9).astype(np.float32)
    ids = np.array([2, 5, 7])

    with tf.GradientTape(persistent=True) as tape:
        logits = sampled_logits(
            features,
            targets,
            Samples(tf.constant(ids, tf.int32), tf.math.log(shares)),
            table=tf.transpose(table) if axis else table,
            axis=axis,
            bias=bias,
        )
        found = cross_entropy(logits, tf.zeros_like(targets))
        flat = tf.reshape(targets, [-1, 1])
        wanted = tf.nn.sampled_softmax_loss(
            table, bias, flat, tf.reshape(features, [-1, 4]), 3, 9,
            sampled_values=(tf.constant(ids, tf.int64), tf.gather(shares, flat), tf.gather(shares, ids)),
        )  # fmt: skip

    np.testing.assert_allclose(tf.reshape(found, [-1]), wanted, rtol=1e-5)
    for variable in (table, bias, features):
        mine, theirs = (tf.convert_to_tensor(tape.gradient(of, variable)) for of in (found, wanted))
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@each_shape
@pytest.mark.parametrize("kernels", ["keras", "native"])
def test_scores_of_a_network(settings: dict[str, Any], kernels: Any) -> None:
    """A target is as far ahead of a sample as in the full softmax, but for the correction of both."""
    made = model(**settings)
    made.use_kernels(kernels)
    inputs, _ = batch()
    targets = tf.roll(inputs, -1, axis=1)
    full, after = made(inputs, made.initial_state(4), labels_of(made))
    made.sample_softmax(6)
    before = made.weight_seed.state.numpy()

    logits, classes, state = made.training_scores(inputs, targets, made.initial_state(4), labels_of(made))

    made.weight_seed.state.assign(before)
    ids, log_shares = (part.numpy() for part in draw(VOCABULARY, 6, made.weight_seed))
    corrected = full.numpy() - log_shares
    wanted = np.concatenate(
        [np.take_along_axis(corrected, targets.numpy()[..., None], axis=-1), corrected[..., ids]], axis=-1
    )
    counts = np.concatenate([np.ones([4, 7, 1], bool), targets.numpy()[..., None] != ids], axis=-1)
    np.testing.assert_allclose(logits.numpy()[counts], wanted[counts], rtol=1e-4, atol=1e-4)
    assert counts.mean() < 1
    assert logits.numpy()[~counts].max() < -1e30
    assert classes.numpy().max() == 0
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state, after)


def test_without_samples_the_scores_are_those_of_the_vocabulary() -> None:
    """With 0 samples the targets are classes of the whole vocabulary."""
    made = model()
    inputs, _ = batch()

    logits, classes, _ = made.training_scores(inputs, inputs, made.initial_state(4))

    np.testing.assert_array_equal(classes, inputs)
    np.testing.assert_allclose(logits, made(inputs)[0], rtol=1e-5, atol=1e-5)


def test_samples_must_be_fewer_than_the_vocabulary() -> None:
    """A draw of the whole vocabulary is an error."""
    made = model()
    made.sample_softmax(VOCABULARY - 1)

    with pytest.raises(ValueError, match=f"{VOCABULARY} samples of a vocabulary of {VOCABULARY}"):
        made.sample_softmax(VOCABULARY)


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_learns_a_text(tie_embeddings: bool) -> None:
    """A text is learned by heart from samples alone, as the full softmax says."""
    keras.utils.set_random_seed(1)
    text = np.array([[3, 4, 5, 3, 4, 6, 3, 4, 7, 3, 8, END_ID]], np.int32)
    made: LanguageModel = model(units=16, embedding_size=8, tie_embeddings=tie_embeddings)
    made.sample_softmax(4)
    optimizer = keras.optimizers.Adam(0.02)
    read = tf.constant(np.concatenate([[[END_ID]], text[:, :-1]], axis=1), tf.int32)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits, classes, _ = made.training_scores(read, tf.constant(text), made.initial_state(1))
            loss = tf.reduce_mean(cross_entropy(logits, classes))
        optimizer.apply(tape.gradient(loss, made.trainable_variables), made.trainable_variables)

    for _ in range(200):
        step()

    assert float(made.score(text, np.array([12]))[0][0]) < 12 * 0.05
