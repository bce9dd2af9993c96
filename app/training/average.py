"""The exponential moving average of the weights of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

EACH, EVERY = 64, 8
"""After so many steps, only every eighth step is averaged: with each one, the training of a large vocabulary
would take a tenth longer."""


class WeightAverage:
    """An average of the weights of many steps, in which late steps count more (Polyak and Juditsky 1992).

    After step t the average is d · average + (1 - d) · weights, with d = min(decay, (1 + t) / (10 + t)): the
    weights of the first steps are soon forgotten. From step `EACH` on only each step that is a multiple of
    `EVERY` counts, with d to the power of `EVERY`.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        """Start with the present weights.

        Args:
            model: its trainable weights are averaged.
            decay: d above, from 0 to 1; 0: nothing is averaged.
        """
        self.decay = decay
        self.weights = list(model.trainable_variables) if decay else []
        self.variables = [
            tf.Variable(weight.value, trainable=False, name=f"average_{i}")
            for i, weight in enumerate(self.weights)
        ]
        """The average of each weight: part of the state of a training."""

    def update(self, step: tf.Tensor) -> None:
        """Take the weights after a step into account; `step` counts from 1."""
        if not self.variables:
            return
        early = step <= EACH
        tf.cond(early | (step % EVERY == 0), lambda: self._add(step, early), lambda: None)

    def _add(self, step: tf.Tensor, early: tf.Tensor) -> None:
        t = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1 + t) / (10 + t))
        rate = 1 - tf.where(early, decay, decay**EVERY)
        for average, weight in zip(self.variables, self.weights, strict=True):
            # The difference is subtracted in one pass, where `assign` would take two.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle, alpha=rate, delta=average - weight.value
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network have the average as its weights, until the context ends."""
        before = [tf.identity(weight.value) for weight in self.weights]
        for average, weight in zip(self.variables, self.weights, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for value, weight in zip(before, self.weights, strict=True):
                weight.assign(value)
