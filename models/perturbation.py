"""Adversarial and virtual adversarial losses of the token embeddings (Miyato, Dai and Goodfellow 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from models.divergences import Scores, divergence
from models.layers.embedding import Embedding

PROBE = 0.1
"""Norm of the random perturbation from which the virtual adversarial direction is found, as a share of the
norm of the perturbation. The difference that a much smaller one makes would drown in rounding errors."""


class Pass:
    """A pass of a network in training mode, which can be repeated with perturbed embeddings.

    A repetition draws the same dropout masks: only the perturbation differs. Perturbations have one norm for
    each row, over all of its tokens together. It is a multiple of the root mean square of the norms of the
    token vectors, so that a network can't escape by growing its embeddings; the authors normalize the
    embeddings instead.

    Use::

        with Pass(network, embedding, lengths, norm=0.3) as first:
            loss = run()
        loss += first.adversarial_loss(loss, run)
    """

    def __init__(self, model: keras.Model, embedding: Embedding, lengths: tf.Tensor, *, norm: float) -> None:
        """Prepare; the first pass is what runs inside of the context.

        Args:
            model: the network.
            embedding: the layer of it that is perturbed, which a pass calls once, with ids [B, T].
            lengths: int32 [B], each from 1 to T.
            norm: of a perturbation, see above.
        """
        self._embedding = embedding
        self._lengths = lengths
        self._norm = norm
        self._seeds = [v for v in model.variables if v.path.endswith("seed_generator_state")]
        self._tape = tf.GradientTape(watch_accessed_variables=False)

    def __enter__(self) -> Pass:
        self._before = [tf.identity(seed.value) for seed in self._seeds]
        self._tape.__enter__()
        self._changing = self._embedding.changed(self._watch)
        self._changing.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._changing.__exit__(None, None, None)
        self._tape.__exit__(*error)

    def _watch(self, embedded: tf.Tensor) -> tf.Tensor:
        self._tape.watch(embedded)
        self._embedded = embedded
        return embedded

    def adversarial_loss(self, loss: tf.Tensor, run: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Return the loss with the perturbation that raises it most, to first order.

        Args:
            loss: of the first pass.
            run: runs a pass and returns its loss.
        """
        with self._perturbed(self._scaled(self._tape.gradient(loss, self._embedded), self._size())):
            return run()

    def virtual_adversarial_loss(
        self, scores: Scores, run: Callable[[], Scores], seed: keras.random.SeedGenerator
    ) -> tf.Tensor:
        """Return the divergence of the scores from those with the perturbation that changes them most.

        It needs no labels. The perturbation is found by one step of power iteration. No gradient flows
        through the scores of the first pass.

        Args:
            scores: of the first pass.
            run: runs a pass and returns its scores.
            seed: of the direction from which the iteration starts.
        """
        scores, size = scores.fixed(), self._size()
        probe = self._scaled(keras.random.normal(tf.shape(self._embedded), seed=seed), PROBE * size)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(probe)
            with self._perturbed(probe):
                changed = divergence(scores, run())
        with self._perturbed(self._scaled(tape.gradient(changed, probe), size)):
            return divergence(scores, run())

    @contextmanager
    def _perturbed(self, perturbation: tf.Tensor) -> Iterator[None]:
        for seed, value in zip(self._seeds, self._before, strict=True):
            seed.assign(value)
        with self._embedding.changed(lambda embedded: embedded + tf.cast(perturbation, embedded.dtype)):
            yield

    def _size(self) -> tf.Tensor:
        """Return the norm of a perturbation: float32 []."""
        squares = tf.reduce_sum(tf.square(tf.cast(self._embedded, tf.float32)), axis=2)
        squares = tf.where(self._real(), squares, 0.0)
        tokens = tf.cast(tf.reduce_sum(self._lengths), tf.float32)
        return tf.stop_gradient(self._norm * tf.sqrt(tf.reduce_sum(squares) / tokens))

    def _scaled(self, direction: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Return a direction [B, T, D] with the norm `size` in each row, 0 on padding: float32."""
        direction = tf.where(self._real()[:, :, tf.newaxis], tf.cast(direction, tf.float32), 0.0)
        # Squares of the small gradients of a large batch would underflow.
        largest = tf.reduce_max(tf.abs(direction), axis=(1, 2), keepdims=True)
        direction = tf.math.divide_no_nan(direction, largest)
        squares = tf.reduce_sum(tf.square(direction), axis=(1, 2), keepdims=True)
        return tf.stop_gradient(size * tf.math.divide_no_nan(direction, tf.sqrt(squares)))

    def _real(self) -> tf.Tensor:
        return tf.sequence_mask(self._lengths, tf.shape(self._embedded)[1])
