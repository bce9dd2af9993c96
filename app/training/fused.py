"""Optimizers of Keras whose update of a variable is one operation of TensorFlow.

Keras takes an operation, and a pass over the variable, for each step of the formula. Names and variables are
those of Keras, so that the state of a training is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class _FusedAdam:
    """The update of Adam (Kingma and Ba 2015, algorithm 1) by `ResourceApplyAdam`.

    The operation takes 1 - β of the rounded β, where Keras rounds 1 - β. That changes the second moment by
    a factor of 1.000013, and the weights of 200 steps with a learning rate of 0.001 by less than 2e-6.
    """

    beta_1: float
    beta_2: float
    epsilon: float
    amsgrad: bool
    _powers: tuple[tf.Tensor, tf.Tensor] | None = None

    def apply(self: Any, grads: Sequence[tf.Tensor], trainable_variables: Any = None) -> None:
        """Update variables and count the step."""
        step = tf.cast(self.iterations + 1, tf.float32)
        self._powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        try:
            super().apply(grads, trainable_variables)  # type: ignore[misc]  # of the optimizer of Keras
        finally:
            self._powers = None  # tensors of a graph must not outlive it

    def update_step(self: Any, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its moments, all float32."""
        index = self._get_variable_index(variable)
        first, second = self._powers
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=first,
            beta2_power=second,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


class Adam(_FusedAdam, keras.optimizers.Adam):
    """Adam, as in Keras."""


class AdamW(_FusedAdam, keras.optimizers.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as in Keras."""


class SGD(keras.optimizers.SGD):
    """Gradient descent with momentum, as in Keras, by `ResourceApplyKerasMomentum`."""

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its momentum, both float32."""
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=tf.cast(learning_rate, tf.float32),
            grad=tf.cast(gradient, tf.float32),
            momentum=self.momentum,
        )
