from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from classifier_models import batch, randomized

from models.classifier import Classifier
from models.divergences import Scores, divergence
from models.losses import cross_entropy
from models.perturbation import Pass

TARGETS = tf.constant([0, 1, 1, 0])
NORM = 0.5


class Rows:
    """A classifier and a batch, with what a pass computes."""

    def __init__(self, padding: int = 0, norm: float = NORM, **settings: Any) -> None:
        self.model: Classifier = randomized(cell="gru", **settings)
        self.ids, self.lengths = batch(padding)
        self.norm = norm

    def scores(self) -> Scores:
        """Return the scores of a pass in training mode."""
        return Scores(self.model(self.ids, self.lengths, training=True))

    def loss(self) -> tf.Tensor:
        """Return the loss of a pass in training mode."""
        return self.loss_of(self.scores())

    def loss_of(self, scores: Scores) -> tf.Tensor:
        """Return the loss of the scores of a pass."""
        return tf.reduce_mean(cross_entropy(scores.logits, TARGETS))

    def first(self) -> Pass:
        """Return a pass that can be repeated."""
        return Pass(self.model, self.model.embedding, self.lengths, norm=self.norm)

    def gradients(self, adversarial: bool) -> tuple[list[np.ndarray], list[float]]:
        """Return the gradients of both losses together, and the losses."""
        with tf.GradientTape() as tape:
            with self.first() as first:
                scores = self.scores()
                loss = self.loss_of(scores)
            if adversarial:
                other = first.adversarial_loss(loss, self.loss)
            else:
                seed = keras.random.SeedGenerator(5)
                other = first.virtual_adversarial_loss(scores, self.scores, seed)
            total = loss + other
        found = tape.gradient(total, self.model.trainable_variables)
        return [tf.convert_to_tensor(g).numpy() for g in found], [float(loss), float(other)]

    def after_embedding(self, embedded: tf.Tensor) -> tf.Tensor:
        """Return logits from embedded tokens."""
        model = self.model
        return model.head(
            model.pooling(*model.recurrent(embedded, self.lengths, training=True), self.lengths)
        )


def directly(rows: Rows) -> tuple[list[np.ndarray], list[float]]:
    """Compute the adversarial loss and its gradients step by step, row by row."""
    embedded = rows.model.embedding(rows.ids)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        loss = tf.reduce_mean(cross_entropy(rows.after_embedding(embedded), TARGETS))
    gradient = tape.gradient(loss, embedded).numpy()
    lengths = rows.lengths.numpy()
    squares = sum((embedded[i, :n].numpy() ** 2).sum() for i, n in enumerate(lengths))
    size = rows.norm * np.sqrt(squares / lengths.sum())
    added = np.stack([size * row / np.linalg.norm(row) for row in gradient])
    with tf.GradientTape() as tape:
        embedded = rows.model.embedding(rows.ids)
        loss = tf.reduce_mean(cross_entropy(rows.after_embedding(embedded), TARGETS))
        other = tf.reduce_mean(cross_entropy(rows.after_embedding(embedded + added), TARGETS))
        total = loss + other
    found = tape.gradient(total, rows.model.trainable_variables)
    return [tf.convert_to_tensor(g).numpy() for g in found], [float(loss), float(other)]


def assert_close(first: tuple[list[np.ndarray], list[float]], second: Any, rtol: float = 1e-4) -> None:
    """Require the same gradients and losses."""
    np.testing.assert_allclose(first[1], second[1], rtol=rtol)
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


def test_adversarial_loss() -> None:
    """Loss and gradients are those of a direct computation; the loss is raised."""
    rows = Rows(bidirectional=True, pooling="max_mean")
    found = rows.gradients(adversarial=True)

    assert_close(found, directly(rows))
    assert found[1][1] > found[1][0]


@pytest.mark.usefixtures("native_kernels")
@pytest.mark.parametrize("adversarial", [True, False])
def test_native_kernels(adversarial: bool) -> None:
    """Native kernels give the losses and gradients of the layers of Keras."""
    found = []
    for kernels in ("keras", "native"):
        rows = Rows(bidirectional=True)
        rows.model.use_kernels(kernels)  # type: ignore[arg-type]
        found.append(rows.gradients(adversarial))

    assert_close(found[0], found[1], rtol=1e-3 if adversarial else 1e-2)


@pytest.mark.parametrize("adversarial", [True, False])
def test_padding_of_perturbed_rows(adversarial: bool) -> None:
    """Padding changes no loss, but for the random numbers that a virtual adversarial loss starts from."""
    short, padded = (
        Rows(padding, norm=NORM if adversarial else 0.03, bidirectional=True, pooling="max_mean")
        for padding in (0, 3)
    )
    if adversarial:
        assert_close(short.gradients(True), padded.gradients(True))
        return
    # The iteration finds nearly the same direction from any start, in a network of two classes.
    losses = [rows.gradients(False)[1][1] for rows in (short, padded)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_repeated_passes_draw_the_same_masks() -> None:
    """With hardly any perturbation, the loss is the one of the first pass, whatever was dropped."""
    keras.utils.set_random_seed(1)
    rows = Rows(norm=1e-7, dropout=0.5, word_dropout=0.3, recurrent_dropout=0.3)
    (first, repeated), (_, unlike) = rows.gradients(True)[1], rows.gradients(False)[1]

    assert repeated == pytest.approx(first, rel=1e-5)
    assert unlike == pytest.approx(0, abs=1e-6)
    assert float(rows.loss()) != pytest.approx(first, rel=1e-3)


def test_virtual_adversarial_loss() -> None:
    """The perturbation changes the scores more than random ones of the same norm do."""
    rows = Rows(norm=0.03)
    with rows.first() as first:
        scores = rows.scores()
    found = float(first.virtual_adversarial_loss(scores, rows.scores, keras.random.SeedGenerator(0)))

    embedded = rows.model.embedding(rows.ids).numpy()
    real = tf.sequence_mask(rows.lengths).numpy()[:, :, None]
    size = 0.03 * np.sqrt((embedded**2 * real).sum() / rows.lengths.numpy().sum())
    generator = np.random.default_rng(0)
    others = []
    for _ in range(10):
        added = generator.normal(size=embedded.shape) * real
        added *= size / np.linalg.norm(added, axis=(1, 2), keepdims=True)
        others.append(float(divergence(scores, Scores(rows.after_embedding(embedded + added)))))
    assert found > max(others) > 0


def test_scores_of_the_first_pass_are_fixed() -> None:
    """The gradient of the virtual adversarial loss is that of the perturbed pass alone."""
    rows = Rows(layers=0, pooling="mean")
    with tf.GradientTape(persistent=True) as tape:
        with rows.first() as first:
            scores = rows.scores()
        loss = first.virtual_adversarial_loss(scores, rows.scores, keras.random.SeedGenerator(0))

    assert tape.gradient(loss, scores.logits) is None
    assert np.abs(tape.gradient(loss, rows.model.head.kernel.value)).max() > 0


def test_the_embedding_is_changed_within_the_context_only() -> None:
    """After the passes the network computes what it did before."""
    rows = Rows()
    before = rows.scores().logits.numpy()
    rows.gradients(True)

    assert np.array_equal(rows.scores().logits, before)
