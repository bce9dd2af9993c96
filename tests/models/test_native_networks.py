from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import classifier_models
import keras
import language_models
import numpy as np
import pytest
import seq2seq_models
import tagger_models
import tensorflow as tf
from numpy.typing import NDArray

from models.layers.recurrent import RecurrentStack
from models.network import Network
from models.settings import BidirectionalSettings

Array = NDArray[Any]
Loss = Callable[[], tf.Tensor]
OPERATION = "TextrnnRecurrent"
DROPPING: dict[str, Any] = {"dropout": 0.3, "recurrent_dropout": 0.2, "word_dropout": 0.2}


pytestmark = pytest.mark.usefixtures("native_kernels")


def squares(*values: tf.Tensor) -> tf.Tensor:
    return tf.add_n([tf.reduce_mean(value**2) for value in values])


def classifying() -> tuple[Network, Loss]:
    model = classifier_models.randomized(
        **DROPPING, layers=2, bidirectional=True, merge_mode="sum", pooling="max_mean", activation="relu"
    )
    return model, lambda: squares(model(*classifier_models.batch(), training=True))


def tagging() -> tuple[Network, Loss]:
    model = tagger_models.randomized(
        **DROPPING, cell="gru", character_features="recurrent", crf=True, alphabet=[97, 98, 99]
    )
    assert model.tokenizer is not None
    tokenizer, code_points = model.tokenizer, tf.constant([97, 98, 99, 100, 97, 98])

    def loss() -> tf.Tensor:
        arrays = tagger_models.batch()
        outputs = model(*arrays, training=True)
        tags = tf.zeros_like(arrays[0])
        boundaries = tf.constant([1, 0, 1, 0, 0, 1], tf.int8)
        of_tokens = tokenizer.loss(code_points, tf.constant([4, 2]), boundaries)
        return tf.reduce_mean(model.tag_losses(outputs, tags, arrays[1])) + of_tokens

    return model, loss


def generating() -> tuple[Network, Loss]:
    model = language_models.model(**DROPPING, layers=2, weight_dropout=0.3)
    state = language_models.random_state(model, 4)

    def loss() -> tf.Tensor:
        logits, after = model(language_models.batch()[0], state, training=True)
        return squares(logits, *tf.nest.flatten(after))

    return model, loss


def translating(**settings: Any) -> tuple[Network, Loss]:
    model = seq2seq_models.randomized(**DROPPING, **settings)
    source = seq2seq_models.rows(seq2seq_models.SOURCE_LENGTHS, seq2seq_models.SOURCE_SIZE)
    target = seq2seq_models.rows(seq2seq_models.TARGET_LENGTHS, seq2seq_models.TARGET_SIZE)
    lengths = tf.constant(seq2seq_models.SOURCE_LENGTHS)
    return model, lambda: squares(model(source, lengths, target, training=True))


NETWORKS: dict[str, tuple[Callable[[], tuple[Network, Loss]], int]] = {
    "classifier": (classifying, 2),
    "tagger": (tagging, 3),
    "language model": (generating, 2),
    "free steps": (lambda: translating(input_feeding=False, cell="simple", layers=2), 4),
    "fed steps": (lambda: translating(input_feeding=True), 1),
}
"""A network with every kind of dropout and a loss, and how many calls of the operation it makes."""


def trained(name: str, kernels: Literal["keras", "native"]) -> tuple[list[float], list[Array], int]:
    """Return the losses of a few steps, all gradients of the first, and its number of native operations."""
    keras.utils.set_random_seed(1)
    model, loss_of = NETWORKS[name][0]()
    model.use_kernels(kernels)
    # Adam would turn the rounding errors of gradients that are 0 into whole steps. With steps ten times as
    # large, weights that differ by a millionth have losses that differ by a hundredth after six steps.
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = loss_of()
        variables = model.trainable_variables
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, gradients

    graph = step.get_concrete_function().graph
    calls = [operation.type for operation in graph.get_operations()].count(OPERATION)
    loss, gradients = step()
    losses = [float(loss), *(float(step()[0]) for _ in range(5))]
    return losses, [gradient.numpy() for gradient in gradients], calls


@pytest.mark.parametrize("name", NETWORKS)
def test_training(name: str) -> None:
    """From one seed, native kernels give the losses and gradients of Keras's layers, dropout included."""
    losses, gradients, calls = trained(name, "native")
    expected, expected_gradients, none = trained(name, "keras")

    assert (calls, none) == (NETWORKS[name][1], 0)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert len(set(losses)) == len(losses)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max() + 1e-7)


@pytest.mark.parametrize("merge_mode", ["concat", "mul"])
def test_padding_and_other_rows_change_no_bit(merge_mode: Literal["concat", "mul"]) -> None:
    """A row alone gives the same bits as in a batch with padding of any content."""
    settings = BidirectionalSettings(units=5, layers=2, merge_mode=merge_mode, dropout=0.0)
    stack = RecurrentStack(settings)
    stack.build((None, None, 3))
    stack.runner.kernels = "native"
    noise = np.random.default_rng(0).normal(size=[4, 9, 3]).astype(np.float32)
    lengths = [7, 1, 4, 6]
    outputs, final = stack(tf.constant(noise), tf.constant(lengths))

    for row, length in enumerate(lengths):
        alone, last = stack(tf.constant(noise[row : row + 1, :length]), tf.constant([length]))
        np.testing.assert_array_equal(outputs[row, :length], alone[0])
        np.testing.assert_array_equal(final[row], last[0])


def test_importances() -> None:
    """Importances need gradients outside of training, of final weights, too."""
    model = classifier_models.randomized(bidirectional=True, pooling="mean", layers=2)
    classes = tf.constant([0, 1, 0, 1])
    graph = tf.function(lambda: model.importances(*classifier_models.batch(), classes))
    model.make_portable()
    expected = model.importances(*classifier_models.batch(), classes)
    model.use_kernels("native")

    np.testing.assert_allclose(graph(), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 0.01


@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_a_language_model_continues_from_a_state(cell: str) -> None:
    """Prompts, scores, pieces and steps are the same with native kernels; minGRU has none."""
    model = language_models.model(cell=cell, layers=2)
    model.make_portable()
    ids, lengths = language_models.batch(padding=2)
    state = language_models.random_state(model, 4)

    def found() -> Any:
        def all_of_it() -> Any:
            return (
                model.prefill(ids, lengths, state),
                model.score(ids, lengths, window=4),
                model.score_piece(ids, lengths - 1, ids[:, 0], state, window=4),
                model.step(ids[:, 0], state),
                model(ids, state),
            )

        return tf.function(all_of_it)()

    expected = found()
    model.use_kernels("native")
    language_models.assert_close(found(), expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_translator_decodes(cell: str, input_feeding: bool) -> None:
    """With final weights, the steps of decoding run the operation too, with the same results."""
    model = seq2seq_models.randomized(cell=cell, layers=2, input_feeding=input_feeding)
    model.make_portable()
    source = seq2seq_models.rows(seq2seq_models.SOURCE_LENGTHS, seq2seq_models.SOURCE_SIZE)

    def decode() -> tf.Tensor:
        state = model.encode(source, tf.constant(seq2seq_models.SOURCE_LENGTHS))
        first, state = model.step(tf.fill([4], 1), state)
        second, _ = model.step(tf.fill([4], 5), state)
        return tf.stack([first, second])

    expected = decode()
    model.use_kernels("native")
    graph = tf.function(decode)
    operations = [operation.type for operation in graph.get_concrete_function().graph.get_operations()]

    assert operations.count(OPERATION) == 6  # two layers: the encoder and two steps
    np.testing.assert_allclose(graph(), expected, rtol=1e-4, atol=1e-5)
