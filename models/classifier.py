"""Many to one: from the tokens of a text to one score for each class or label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.hidden_units import states_of
from models.kernels.dense import dense
from models.layers.dropout import Dropout
from models.layers.embedding import Embedding
from models.layers.fixed import add_fixed, weighted_sum
from models.layers.ngrams import NGrams
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
    """Embedding, dropout, recurrent layers, pooling, dropout, a dense head; beside them n-grams.

    With `layers=0` it is a feed-forward network over pooled embeddings, as a baseline.

    With `ngrams` it is wide and deep (Cheng et al. 2016, "Wide & deep learning for recommender systems"): the
    logits are the sum of those of the recurrent branch and of a linear model, see `NGrams`, each multiplied
    by a weight: the variable `branch_weights`, float32 [2], not trained, 1 at first.

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
        ngram_entries: int = 0,
        rejects: bool = False,
        **options: Any,
    ) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters.
            vocabulary_size: number of token ids, including the special ones.
            classes: number of classes or labels.
            several_labels: whether a text has any number of labels, rather than one class.
            ngram_entries: maximum number of n-grams of two words or more.
            rejects: whether there is a `threshold`, the probability from which a text gets its class.
            options: of `keras.Model`.
        """
        arguments = {"vocabulary_size": vocabulary_size, "classes": classes, "several_labels": several_labels}
        if settings.ngrams:
            arguments["ngram_entries"] = ngram_entries
        if rejects:
            arguments["rejects"] = True
        super().__init__(settings, arguments, **options)
        self.classes, self.several_labels = classes, several_labels
        self.rejects = rejects
        self.calibrated = settings.calibrated or bool(settings.ngrams)
        self.word_dropout = WordDropout(settings.word_dropout, name="word_dropout")
        self.embedding = Embedding(vocabulary_size, settings.embedding_size, name="embedding")
        self.embedding_dropout = Dropout(
            settings.dropout, locked=settings.locked_dropout, name="embedding_dropout"
        )
        self.recurrent = RecurrentStack(settings, runner=self.runner, name="recurrent")
        self.pooling = Pooling(settings.pooling, name="pooling")
        self.head_dropout = Dropout(settings.dropout, name="head_dropout")
        self.head = keras.layers.Dense(classes, name="head")
        self.ngrams: NGrams | None = None
        if settings.ngrams:
            self.ngrams = NGrams(
                vocabulary_size=vocabulary_size,
                classes=classes,
                longest=settings.ngrams,
                entries=ngram_entries,
                name="ngrams",
            )

    def build(self, *_: Any, **__: Any) -> None:
        """Create all weights; their shapes follow from settings and arguments alone."""
        width = self.settings.embedding_size
        self.embedding.build((None, None))
        self.recurrent.build((None, None, width))
        width = self.recurrent.output_size or width
        self.pooling.build((None, None, width))
        self.head.build((None, self.pooling.output_size(width)))
        if self.rejects:
            self.threshold = add_fixed(self, "threshold", ())
        if self.several_labels:
            self.thresholds = add_fixed(self, "thresholds", (self.classes,), 0.5)
        if self.ngrams is not None:
            self.ngrams.build()
        if self.calibrated:
            self.branch_weights = add_fixed(self, "branch_weights", (1 if self.ngrams is None else 2,), 1)
        if self.ngrams is not None and self.several_labels:
            self.branch_thresholds = add_fixed(self, "branch_thresholds", (2, self.classes), 0.5)
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
            logits float [B, classes]; those of the recurrent branch alone in training: the other branch has
            nothing to learn by gradients.
        """
        if training or not self.calibrated:
            return self._recurrent_branch(token_ids, lengths, training=training, mix=mix)
        return self.joined(*self.branches(token_ids, lengths))

    def branches(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> list[tf.Tensor]:
        """Return the logits of the recurrent branch and, if there are any, of the n-grams.

        They are float32 [B, classes] each.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.
        """
        found = [tf.cast(self._recurrent_branch(token_ids, lengths), tf.float32)]
        if self.ngrams is not None:
            found.append(self.ngrams(token_ids, lengths))
        return found

    def joined(self, *branches: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the logits of all branches: float32 [..., classes]."""
        return weighted_sum(self.branch_weights, branches)

    def _recurrent_branch(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        training: bool = False,
        mix: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        embedded = self.embedding(self.word_dropout(token_ids, training=training))
        embedded = self.embedding_dropout(embedded, training=training)
        sequences, final = self.recurrent(embedded, lengths, training=training)
        pooled = self.pooling(sequences, final, lengths)
        if self.runner.portable and not training:
            return dense(self.head, pooled)
        if mix is not None:
            pooled = mix(pooled)
        return self.head(self.head_dropout(pooled, training=training))

    def hidden_states(self, units: Sequence[int], token_ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the output of some units of the top recurrent layer after each token.

        Args:
            units: indices below `recurrent.output_size`, N of them.
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.

        Returns:
            float32 [B, T, N]; 0 on padding.
        """
        sequences, _ = self.recurrent(self.embedding(token_ids), lengths)
        return states_of(units, sequences, lengths)

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
        computed by Gauss-Legendre quadrature. The line is one of embeddings and of the values of n-grams; the
        importance of an n-gram is divided evenly among its tokens.

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
        ngrams = self.ngrams

        def of_row(row: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            token_ids, length, chosen = row
            several = token_ids[tf.newaxis], length[tf.newaxis]
            embedded = tf.cast(self.embedding(token_ids[:length]), tf.float32)
            difference = embedded - tf.cast(self.embedding(tf.constant(UNKNOWN_ID)), tf.float32)
            points = embedded - (1 - shares) * difference
            with tf.GradientTape() as tape:
                tape.watch(points)
                lengths = tf.fill([INTEGRATION_POINTS], length)
                sequences, final = self.recurrent(points, lengths, differentiable=True)
                logits = tf.cast(self.head(self.pooling(sequences, final, lengths)), tf.float32)
                if ngrams is not None:
                    bias = tf.convert_to_tensor(ngrams.bias)
                    rise = shares[:, 0] * (ngrams(*several) - bias)
                    tape.watch(rise)
                    logits = self.joined(logits, bias + rise)
                elif self.calibrated:
                    logits = self.joined(logits)
                odds = self.log_odds(logits, tf.fill([INTEGRATION_POINTS], chosen))
            sources = [points] if ngrams is None else [points, rise]
            of_points, *of_rise = tape.gradient(odds, sources)
            mean = tf.tensordot(weights, of_points, axes=1)
            found = tf.pad(tf.reduce_sum(mean * difference, axis=1), [[0, tf.shape(token_ids)[0] - length]])
            if ngrams is not None:
                mean = tf.tensordot(weights, of_rise[0], axes=1)
                found += ngrams.contributions(*several, mean[tf.newaxis])[0]
            return found

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
            if hasattr(layer.cell, "recurrent_dropout"):
                # Keras draws masks outside of training, too, and changes the seed: a graph may not.
                layer.cell.recurrent_dropout = 0.0

    def cudnn_layers(self) -> int:
        """Return the number of `RecurrentStack.cudnn_layers`."""
        return self.recurrent.cudnn_layers()
