"""The embedding of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("textrnn")
class Embedding(keras.layers.Embedding):
    """The layer of Keras for ids from 0, which looks them up in one operation.

    In Keras negative ids count from the end of the table, which takes five operations and a twentieth of the
    time of a short text.
    """

    _change: Callable[[tf.Tensor], tf.Tensor] | None = None

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the vectors of ids: int [...] → float [..., D].

        Raises:
            tf.errors.InvalidArgumentError: on a CPU, if an id is not in the table.
        """
        found = tf.nn.embedding_lookup(self.embeddings.value, inputs)
        found = tf.cast(found, self.compute_dtype)
        return found if self._change is None else self._change(found)

    @contextmanager
    def changed(self, change: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
        """Let the layer return what a function makes of the vectors, until the context ends.

        For gradients with respect to the vectors, and for vectors that are perturbed. In a graph it holds for
        what is traced inside of the context.

        Args:
            change: from float [..., D] to another tensor of that shape and dtype.
        """
        self._change = change
        try:
            yield
        finally:
            self._change = None
