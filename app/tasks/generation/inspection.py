"""How `inspect` looks into a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.prediction.predictor import Predictor
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts
from app.tasks.inspection import TOKENS, Inspection, Text, Unrolled, Vectors, no_tokens
from app.tasks.tokenizing import tokenizer_options
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, UNKNOWN_ID

START = "∎"
"""How the token before a document is shown."""


class GenerationInspection(Inspection[GenerationConfig, GenerationFacts]):
    """An output after each token: the log-odds of the most probable next one."""

    what = "score of the next token"

    def __init__(
        self, model: keras.Model, preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig
    ) -> None:
        """Build the preprocessor."""
        super().__init__(model, preprocessing, config)
        options = tokenizer_options(config, preprocessing.facts, joins=True) | {"lines": True}
        self.preprocessor = Preprocessor(preprocessing.vocabulary, **options)

    @property
    def names(self) -> Sequence[str]:
        """The tokens of the vocabulary."""
        return [token.decode(errors="replace") for token in self.preprocessing.vocabulary]

    def vectors(self, examples: Mapping[str, Any], longest: int) -> Vectors:
        """Return the vectors of the last tokens of documents, or of pieces of one."""
        return self._embedded(self._ids(examples)[:, -longest:])

    def sample(
        self, examples: Mapping[str, Any], number: int, longest: int, random: np.random.Generator
    ) -> Vectors:
        """Return the vectors of windows of documents, which may be much longer than a window."""
        rows = [
            row[start : start + longest]
            for row in self._ids(examples).to_list()
            for start in range(0, max(len(row) - longest, 0) + 1, longest)
        ]
        rows = [rows[i] for i in np.sort(random.permutation(len(rows))[:number])]
        return self._embedded(tf.ragged.constant(rows, tf.int32, ragged_rank=1))

    def text(self, text: str, predictor: Predictor) -> Text:
        """Return a text after the token that starts a document; its output is the token that follows it."""
        pieces = tokenize([text.encode()], **self.preprocessor.options)
        tokens = [piece.decode(errors="replace") for piece in pieces[0].numpy()]
        if not tokens:
            raise no_tokens("a text to continue")
        start = tf.ragged.constant([[END_ID]], tf.int32)
        vectors = self._embedded(tf.concat([start, self.preprocessor.ids(pieces)], axis=1))
        unknown = self._embedded(
            tf.concat([start, tf.ragged.constant([[UNKNOWN_ID] * len(tokens)], tf.int32)], axis=1)
        )
        return Text(vectors, unknown.values, {TOKENS: [START, *tokens]}, [len(tokens)])

    def logits(self, vectors: Vectors, steps: tf.Tensor) -> tf.Tensor:
        """Return the logits of the token after one of each row."""
        *_, top = self._inputs(vectors)
        return tf.cast(self.model.head(tf.gather(top, steps, axis=1, batch_dims=1)), tf.float32)

    def layers(self, vectors: Vectors) -> list[Unrolled]:
        """Return the recurrent layers."""
        lengths = vectors.lengths[TOKENS]
        return [
            Unrolled(layer.name, layer, inputs, lengths)
            for layer, inputs in zip(self.model.recurrent, self._inputs(vectors), strict=False)
        ]

    def _inputs(self, vectors: Vectors) -> list[tf.Tensor]:
        """Return what each layer reads, and what the output layer reads: float32 [B, T, D] each."""
        found = [vectors.values[TOKENS]]
        for layer in self.model.recurrent:
            outputs = self.model.runner.run([layer], found[-1], vectors.lengths[TOKENS], differentiable=True)
            found.append(outputs.sequences)
        return found

    def _ids(self, examples: Mapping[str, Any]) -> tf.RaggedTensor:
        return self.preprocessor.ids(tokenize(examples["text"], **self.preprocessor.options))

    def _embedded(self, ids: tf.RaggedTensor) -> Vectors:
        """Return vectors with that of no label, where texts have labels."""
        model = self.model
        lengths = tf.maximum(tf.cast(ids.row_lengths(), tf.int32), 1)
        dense = ids.to_tensor(0, shape=tf.stack([-1, tf.reduce_max(lengths)]))
        values = tf.cast(model.embedding(dense), tf.float32)
        if model.label_embedding is not None:
            values += tf.cast(model.label_embedding(tf.constant(model.labels)), tf.float32)
        return Vectors({TOKENS: values}, {TOKENS: lengths})
