"""How `inspect` looks into a translator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.prediction.predictor import Predictor
from app.tasks.inspection import Inspection, Line, Text, Unrolled, Vectors, by_token, no_tokens
from app.tasks.stack import unrolled
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.translator import Translator
from app.tasks.translation.vocabularies import target_vocabulary
from models.text.tokenize import tokenize
from models.text.tokens import UNKNOWN_ID

SOURCE, TARGET = "source", "target"
END = "∎"
"""How the token before and after a translation is shown."""


class TranslationInspection(Inspection[TranslationConfig, TranslationFacts]):
    """An output for each token of the translation: its log-odds, given those before it and the source."""

    main = TARGET
    what = "score of the next target token"

    def __init__(
        self, model: keras.Model, preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig
    ) -> None:
        """Build what encodes pairs."""
        super().__init__(model, preprocessing, config)
        self.translator = Translator(model, preprocessing, config)

    @property
    def names(self) -> Sequence[str]:
        """The tokens of the target vocabulary."""
        return [
            token.decode(errors="replace") for token in target_vocabulary(self.preprocessing, self.config)
        ]

    def vectors(self, examples: Mapping[str, Any], longest: int) -> Vectors:
        """Return the vectors of both sides of pairs, the inputs of the decoder as the target."""
        found = self.translator.pair(tf.constant(examples["source"]), tf.constant(examples["target"]))
        lengths = {SOURCE: found["source_lengths"], TARGET: found["lengths"]}
        sides = {SOURCE: found["source"], TARGET: found["before"]}
        return self._embedded(
            {name: ids[:, :longest] for name, ids in sides.items()},
            {name: tf.minimum(own, longest) for name, own in lengths.items()},
        )

    def text(self, text: str, predictor: Predictor) -> Text:
        """Return a text and its translation; the score of the translation is the sum of its outputs."""
        translator = self.translator
        pieces = tokenize([text.encode()], **translator.source.options)
        if not len(pieces[0]):
            raise no_tokens("a sentence to translate")
        translation = predictor.run_texts("serving_default", [text.encode()])["text"]
        pair = translator.pair(tf.constant([text.encode()]), tf.constant(translation))
        vectors = self._embedded(
            {SOURCE: pair["source"], TARGET: pair["before"]},
            {SOURCE: pair["source_lengths"], TARGET: pair["lengths"]},
        )
        unknown = self.model.source_embedding(tf.fill(tf.shape(pair["source"]), UNKNOWN_ID))
        following = pair["following"].numpy()[0]
        written = [self.names[i] for i in following]
        tokens = {
            SOURCE: [piece.decode(errors="replace") for piece in pieces[0].numpy()],
            TARGET: [END, *written[:-1]],
        }
        return Text(
            vectors,
            {SOURCE: tf.cast(unknown, tf.float32)},
            tokens,
            list(range(len(following))),
            following.tolist(),
            summed=True,
        )

    def logits(self, vectors: Vectors, steps: tf.Tensor) -> tf.Tensor:
        """Return the logits of the target token after one of each row."""
        found = tf.gather(self._decoded(vectors), steps, axis=1, batch_dims=1)
        return tf.cast(self.model.next_logits(found), tf.float32)

    def line(self, text: Text) -> Line:
        """Return the line of source vectors; the score is that of the whole translation."""
        starts, ends = [text.unknown[SOURCE]], [text.vectors.values[SOURCE]]
        classes = tf.constant([text.classes], tf.int32)

        def score(points: list[tf.Tensor], outputs: np.ndarray) -> tf.Tensor:
            number, steps = len(outputs), classes.shape[1]
            rows = text.vectors.rows(np.zeros(number, int)).with_values({SOURCE: points[0]})
            logits = tf.reshape(self._all_logits(rows), [number * steps, -1])
            scores = self.scores(logits, tf.reshape(tf.tile(classes, [number, 1]), [-1]))
            return tf.reduce_sum(tf.reshape(scores, [number, steps]), axis=1)

        return Line(starts, ends, 1, score, by_token([SOURCE], starts, ends))

    def layers(self, vectors: Vectors) -> list[Unrolled]:
        """Return the recurrent layers of the encoder in their directions, and those of the decoder."""
        encoder = unrolled(self.model.encoder, vectors.values[SOURCE], vectors.lengths[SOURCE], SOURCE)
        return [*encoder, *self._decoder(vectors)]

    def _decoder(self, vectors: Vectors) -> list[Unrolled]:
        """Return the layers of the decoder; what is fed back to the lowest one is part of what it reads."""
        model, embedded = self.model, vectors.values[TARGET]
        state = model.encode_vectors(vectors.values[SOURCE], vectors.lengths[SOURCE], differentiable=True)
        inputs = [embedded]
        if not model.attention:
            inputs.append(tf.repeat(state["context"][:, tf.newaxis], embedded.shape[1], axis=1))
        if model.input_feeding:
            after = model.decode_vectors(embedded, state, differentiable=True)
            inputs.append(tf.concat([state["attentional"][:, tf.newaxis], after[:, :-1]], axis=1))
        sequences = tf.concat(inputs, axis=2)
        lengths, found = vectors.lengths[TARGET], []
        for layer, initial in zip(model.decoder, state["hidden"], strict=True):
            found.append(Unrolled(layer.name, layer, sequences, lengths, sequence=TARGET, initial=initial))
            sequences, *_ = layer(sequences, initial_state=list(initial))
        return found

    def _all_logits(self, vectors: Vectors) -> tf.Tensor:
        """Return the logits of the token after each one: float32 [B, T, C]."""
        return tf.cast(self.model.next_logits(self._decoded(vectors)), tf.float32)

    def _decoded(self, vectors: Vectors) -> tf.Tensor:
        state = self.model.encode_vectors(
            vectors.values[SOURCE], vectors.lengths[SOURCE], differentiable=True
        )
        found: tf.Tensor = self.model.decode_vectors(vectors.values[TARGET], state, differentiable=True)
        return found

    def _embedded(self, ids: Mapping[str, tf.Tensor], lengths: Mapping[str, tf.Tensor]) -> Vectors:
        embeddings = {SOURCE: self.model.source_embedding, TARGET: self.model.target_embedding}
        values = {name: tf.cast(embeddings[name](own), tf.float32) for name, own in ids.items()}
        return Vectors(values, dict(lengths))
