"""Many to one: from the tokens of a text to one score for each class or label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.kernels.dense import dense
from models.layers.dropout import Dropout
from models.layers.embedding import Embedding
from models.layers.pooling import Pooling
from models.layers.recurrent import RecurrentStack
from models.layers.word_dropout import WordDropout
from models.network import Network
from models.settings import ClassifierSettings
from models.text.tokens import UNKNOWN_ID

INTEGRATION_POINTS = 16
"""Of integrated gradients: their sum is then accurate to a hundredth, also for `max`, which is not smooth."""


def log_odds(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Return the logarithm of p / (1 - p) of a class for each row: float [B, C], int32 [B] → [B].

    `log_odds([[2., 1.]], [0]) -> [1.]`
    """
    own = tf.one_hot(classes, tf.shape(logits)[1], on_value=True, off_value=False)
    others = tf.reduce_logsumexp(tf.where(own, logits.dtype.min, logits), axis=1)
    return tf.gather(logits, classes, axis=1, batch_dims=1) - others


@keras.saving.register_keras_serializable("textrnn")
class Classifier(Network):
    """Embedding, dropout, recurrent layers, pooling, dropout, a dense head.

    With `layers=0` it is a feed-forward network over pooled embeddings, as a baseline.

    With one label a text, the probabilities of the classes are the softmax of the logits. With several labels
    the probability of each label is the sigmoid of its logit, and the variable `thresholds` has the
    probability from which each label is chosen: float32 [classes], not trained, 0.5 at first.
    """

    settings_class = ClassifierSettings
    settings: ClassifierSettings

    def __init__(
        self,
        settings: ClassifierSettings,
        *,
        vocabulary_size: int,
        classes: int,
        several_labels: bool = False,
        **options: Any,
    ) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters.
            vocabulary_size: number of token ids, including the special ones.
            classes: number of classes or labels.
            several_labels: whether a text has any number of labels, rather than one class.
            options: of `keras.Model`.
        """
        arguments = {"vocabulary_size": vocabulary_size, "classes": classes, "several_labels": several_labels}
        super().__init__(settings, arguments, **options)
        self.classes, self.several_labels = classes, several_labels
        self.word_dropout = WordDropout(settings.word_dropout, name="word_dropout")
        self.embedding = Embedding(vocabulary_size, settings.embedding_size, name="embedding")
        self.embedding_dropout = Dropout(
            settings.dropout, locked=settings.locked_dropout, name="embedding_dropout"
        )
        self.recurrent = RecurrentStack(settings, runner=self.runner, name="recurrent")
        self.pooling = Pooling(settings.pooling, name="pooling")
        self.head_dropout = Dropout(settings.dropout, name="head_dropout")
        self.head = keras.layers.Dense(classes, name="head")

    def build(self, *_: Any, **__: Any) -> None:
        """Create all weights; their shapes follow from settings and arguments alone."""
        width = self.settings.embedding_size
        self.embedding.build((None, None))
        self.recurrent.build((None, None, width))
        width = self.recurrent.output_size or width
        self.pooling.build((None, None, width))
        self.head.build((None, self.pooling.output_size(width)))
        if self.several_labels:
            self.thresholds = self.add_weight(
                name="thresholds",
                shape=(self.classes,),
                initializer=keras.initializers.Constant(0.5),
                dtype="float32",
                trainable=False,
            )
        self.built = True

    def call(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        training: bool = False,
        mix: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Return scores.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.
            training: whether to apply dropout.
            mix: from the pooled vectors of all rows, float [B, D], to those that are classified, in training.

        Returns:
            logits float [B, classes].
        """
        embedded = self.embedding(self.word_dropout(token_ids, training=training))
        embedded = self.embedding_dropout(embedded, training=training)
        sequences, final = self.recurrent(embedded, lengths, training=training)
        pooled = self.pooling(sequences, final, lengths)
        if self.runner.portable and not training:
            return dense(self.head, pooled)
        if mix is not None:
            pooled = mix(pooled)
        return self.head(self.head_dropout(pooled, training=training))

    def log_odds(self, logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Return the logarithm of p / (1 - p) of a class or label for each row.

        Args:
            logits: float [B, classes].
            classes: int32 [B].
        """
        if self.several_labels:
            return tf.gather(logits, classes, axis=1, batch_dims=1)
        return log_odds(logits, classes)

    def margins(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the log-odds of each label minus those of its threshold: float32 [B, classes].

        A label is chosen if its margin is at least 0.
        """
        thresholds = tf.convert_to_tensor(self.thresholds)
        return tf.cast(logits, tf.float32) - (tf.math.log(thresholds) - tf.math.log1p(-thresholds))

    def importances(self, token_ids: tf.Tensor, lengths: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Return the importance of each token for a class or label.

        These are integrated gradients (Sundararajan et al. 2017, equation 1). Their sum is the log-odds of
        the class (see the method `log_odds`) minus those of a text of as many unknown tokens, the baseline:
        an unknown token has an importance of 0. The integral along the straight line between the two is
        computed by Gauss-Legendre quadrature.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.
            classes: int32 [B].

        Returns:
            float32 [B, T]: positive for the class, negative against it; 0 on padding.
        """
        nodes, weights = np.polynomial.legendre.leggauss(INTEGRATION_POINTS)
        shares = tf.constant((nodes + 1) / 2, tf.float32)[:, tf.newaxis, tf.newaxis]
        weights = tf.constant(weights / 2, tf.float32)

        def of_row(row: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            token_ids, length, chosen = row
            embedded = tf.cast(self.embedding(token_ids[:length]), tf.float32)
            difference = embedded - tf.cast(self.embedding(tf.constant(UNKNOWN_ID)), tf.float32)
            points = embedded - (1 - shares) * difference
            with tf.GradientTape() as tape:
                tape.watch(points)
                lengths = tf.fill([INTEGRATION_POINTS], length)
                sequences, final = self.recurrent(points, lengths, differentiable=True)
                logits = self.head(self.pooling(sequences, final, lengths))
                odds = self.log_odds(tf.cast(logits, tf.float32), tf.fill([INTEGRATION_POINTS], chosen))
            mean = tf.tensordot(weights, tape.gradient(odds, points), axes=1)
            return tf.pad(tf.reduce_sum(mean * difference, axis=1), [[0, tf.shape(token_ids)[0] - length]])

        # Row by row, each with its own length: the points of a row are one batch, which takes much memory.
        return tf.map_fn(
            of_row,
            (token_ids, lengths, classes),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
            parallel_iterations=1,
        )

    def make_portable(self) -> None:
        """Make the recurrent layers portable, see `RecurrentStack.make_portable`, and importances, too."""
        self.recurrent.make_portable()
        for layer in (*self.recurrent.forward, *self.recurrent.backward):
            if hasattr(layer, "use_cudnn"):  # else a machine with a GPU would trace cuDNN
                layer.use_cudnn = False

    def cudnn_layers(self) -> int:
        """Return the number of `RecurrentStack.cudnn_layers`."""
        return self.recurrent.cudnn_layers()
