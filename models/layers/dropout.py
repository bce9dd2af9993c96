"""Dropout whose random numbers have as many bits as they need."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

BITS = {8: tf.int8, 16: tf.int16}
"""Integers that a random number may be, by their number of bits."""


@keras.saving.register_keras_serializable("textrnn")
class Dropout(keras.layers.Dropout):
    """The layer of Keras with random integers of 8 or 16 bits for each element, in place of 24.

    Drawing random bits takes most of the time of dropout. With 8 bits the rate is a multiple of 1/256, such
    as 0.5 and 0.25; other rates are rounded to a multiple of 1/65536, and the elements that are kept are
    scaled by that very rate: the expected output is the input. A noise shape is left to Keras.

    The random numbers depend on the state of the seed generator alone, as in Keras. They are not those of
    Keras.
    """

    def __init__(self, rate: float, *, locked: bool = False, **options: Any) -> None:
        """Create the layer.

        Args:
            rate: share of the elements that are dropped.
            locked: whether all steps of a sequence, float [B, T, D], have the elements of the same features
                dropped (variational dropout; Gal and Ghahramani 2016; Merity et al. 2018, section 3). Inputs
                of other ranks are not changed by it.
            options: of `keras.layers.Dropout`.
        """
        super().__init__(rate, **options)
        self.locked = locked

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "locked": self.locked}

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drop random elements: float [..., D] → [..., D], D known when the graph is traced."""
        if not training or not self.rate or self.noise_shape:
            return super().call(inputs, training=training)
        bits = 8 if (256 * self.rate).is_integer() else 16
        values = 1 << bits
        dropped = min(round(values * self.rate), values)
        if dropped == values:
            return tf.zeros_like(inputs)
        shape = tf.shape(inputs)
        if self.locked and len(inputs.shape) == 3:
            shape = tf.stack([shape[0], 1, shape[2]])
        kept = self._integers(shape, inputs.shape[-1], bits) >= dropped - values // 2
        return tf.where(kept, inputs * (values / (values - dropped)), tf.zeros([], inputs.dtype))

    def _integers(self, shape: tf.Tensor, size: int, bits: int) -> tf.Tensor:
        """Return random integers of all values of a number of bits: [*shape], whose last size is `size`."""
        in_one = 32 // bits
        seed = tf.cast(tf.math.floormod(self.seed_generator.next(), tf.int32.max - 1), tf.int32)
        words = tf.concat([shape[:-1], [math.ceil(size / in_one)]], axis=0)
        random = tf.random.stateless_uniform(words, seed, minval=None, maxval=None, dtype=tf.int32)
        integers = tf.reshape(tf.bitcast(random, BITS[bits]), tf.concat([shape[:-1], [-1]], axis=0))
        return integers if size % in_one == 0 else integers[..., :size]
