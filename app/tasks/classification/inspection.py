"""How `inspect` looks into a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.prediction.predictor import Predictor
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.inspection import TOKENS, Inspection, Line, Text, Unrolled, Vectors, no_tokens
from app.tasks.stack import unrolled
from app.tasks.tokenizing import tokenizer_options
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import UNKNOWN_ID


class ClassificationInspection(Inspection[ClassificationConfig, ClassificationFacts]):
    """One output for each text: the log-odds of the predicted class, n-grams included."""

    per_step = False
    what = "score of the predicted class"

    def __init__(
        self,
        model: keras.Model,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> None:
        """Build the preprocessor."""
        super().__init__(model, preprocessing, config)
        options = tokenizer_options(config, preprocessing.facts)
        self.preprocessor = Preprocessor(preprocessing.vocabulary, **options)

    @property
    def names(self) -> Sequence[str]:
        """The labels."""
        return [label.decode() for label in self.preprocessing.labels]

    def vectors(self, examples: Mapping[str, Any], longest: int) -> Vectors:
        """Return the vectors of texts."""
        ids = self.preprocessor.ids(tokenize(examples["text"], **self.preprocessor.options))
        return self._embedded(ids[:, -longest:])

    def text(self, text: str, predictor: Predictor) -> Text:
        """Return a text, whose only output comes after its last token."""
        pieces = tokenize([text.encode()], **self.preprocessor.options)
        tokens = [piece.decode(errors="replace") for piece in pieces[0].numpy()]
        if not tokens:
            raise no_tokens("a text to classify")
        vectors = self._embedded(self.preprocessor.ids(pieces))
        unknown = self._embedded(tf.ragged.constant([[UNKNOWN_ID] * len(tokens)], tf.int32))
        return Text(vectors, unknown.values, {TOKENS: tokens}, [len(tokens) - 1])

    def logits(self, vectors: Vectors, steps: tf.Tensor) -> tf.Tensor:
        """Return the logits of each row; it has one output, whatever the steps are."""
        logits, model = self._recurrent_logits(vectors), self.model
        if model.ngrams is not None:
            return model.joined(logits, model.ngrams(vectors.ids, vectors.lengths[TOKENS]))
        return model.joined(logits) if model.calibrated else logits

    def layers(self, vectors: Vectors) -> list[Unrolled]:
        """Return the recurrent layers in their directions."""
        return unrolled(self.model.recurrent, vectors.values[TOKENS], vectors.lengths[TOKENS])

    def classes(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the predicted class; with several labels the one that is furthest above its threshold."""
        return super().classes(self.model.margins(logits) if self.model.several_labels else logits)

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of the classes, or of each label."""
        return tf.sigmoid(logits) if self.model.several_labels else tf.nn.softmax(logits)

    def scores(self, logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Return the log-odds of a class or label for each row."""
        found: tf.Tensor = self.model.log_odds(logits, classes)
        return found

    def line(self, text: Text) -> Line:
        """Return the line of vectors, and of the values of n-grams, as `Classifier.importances` takes it."""
        model, vectors = self.model, text.vectors
        if model.ngrams is None:
            return super().line(text)
        (chosen,) = self.chosen(text)
        bias = tf.convert_to_tensor(model.ngrams.bias)
        rise = model.ngrams(vectors.ids, vectors.lengths[TOKENS]) - bias
        start, end = text.unknown[TOKENS], vectors.values[TOKENS]

        def score(points: list[tf.Tensor], outputs: np.ndarray) -> tf.Tensor:
            of_tokens, of_ngrams = points
            rows = vectors.rows(np.zeros(len(outputs), int)).with_values({TOKENS: of_tokens})
            logits = model.joined(self._recurrent_logits(rows), bias + of_ngrams)
            return self.scores(logits, np.full(len(outputs), chosen))

        def of_tokens(gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
            of_vectors, of_rise = gradients
            found = (of_vectors * (end.numpy() - start.numpy())).sum(axis=-1)
            weights = tf.constant(of_rise, tf.float32)
            found += model.ngrams.contributions(vectors.ids, vectors.lengths[TOKENS], weights).numpy()
            return {TOKENS: found}

        return Line([start, tf.zeros_like(rise)], [end, rise], 1, score, of_tokens)

    def _embedded(self, ids: tf.RaggedTensor) -> Vectors:
        lengths = tf.maximum(tf.cast(ids.row_lengths(), tf.int32), 1)
        dense = ids.to_tensor(0, shape=tf.stack([-1, tf.reduce_max(lengths)]))
        values = tf.cast(self.model.embedding(dense), tf.float32)
        return Vectors({TOKENS: values}, {TOKENS: lengths}, dense)

    def _recurrent_logits(self, vectors: Vectors) -> tf.Tensor:
        model, lengths = self.model, vectors.lengths[TOKENS]
        sequences, final = model.recurrent(vectors.values[TOKENS], lengths, differentiable=True)
        return tf.cast(model.head(model.pooling(sequences, final, lengths)), tf.float32)
