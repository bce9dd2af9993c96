"""How `inspect` looks into a tagger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.prediction.predictor import Predictor
from app.tasks.inspection import TOKENS, Inspection, Text, Unrolled, Vectors, no_tokens
from app.tasks.stack import unrolled
from app.tasks.tagging.config import TaggingConfig
from app.tasks.tagging.examples import word_encoder
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.span_ends import inside_tags, learned_tags
from models.text.tokens import UNKNOWN_ID


class TaggingInspection(Inspection[TaggingConfig, TaggingFacts]):
    """An output for each token: the log-odds of its tag by the recurrent network.

    What a CRF and the features of tokens add is left out: no gradient leads from them to the words.
    """

    what = "score of the tag of a token"

    def __init__(
        self, model: keras.Model, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
    ) -> None:
        """Build the encoder of words."""
        super().__init__(model, preprocessing, config)
        self.sees_ahead = bool(model.recurrent.backward)
        self.encoder = word_encoder(preprocessing, config)

    @property
    def names(self) -> Sequence[str]:
        """The tags that the network learns."""
        tags = [tag.decode() for tag in self.preprocessing.vocabularies["tags"]]
        return tags if self.model.span_ends is None else learned_tags(tags, inside_tags(tags))

    def vectors(self, examples: Mapping[str, Any], longest: int) -> Vectors:
        """Return the vectors of the tokens of sentences."""
        rows = [list(row)[-longest:] for row in examples["tokens"]]
        return self._embedded(rows)

    def text(self, text: str, predictor: Predictor) -> Text:
        """Return a sentence, with an output for each token."""
        outputs = predictor.run_texts("serving_default", [text.encode()])
        pieces = list(outputs["tokens"][0][: outputs["length"][0]])
        if not pieces:
            raise no_tokens("a sentence to tag")
        vectors = self._embedded([pieces])
        word = self.model.embedding(tf.constant([[UNKNOWN_ID]]))
        spelled = vectors.values[TOKENS].shape[2] - word.shape[2]
        unknown = tf.pad(tf.cast(word, tf.float32), [[0, 0], [0, 0], [0, spelled]])
        tokens = [piece.decode(errors="replace") for piece in pieces]
        return Text(
            vectors,
            {TOKENS: tf.tile(unknown, [1, len(pieces), 1])},
            {TOKENS: tokens},
            list(range(len(pieces))),
        )

    def logits(self, vectors: Vectors, steps: tf.Tensor) -> tf.Tensor:
        """Return the emissions of one token of each row."""
        sequences, _ = self.model.recurrent(
            vectors.values[TOKENS], vectors.lengths[TOKENS], differentiable=True
        )
        return tf.cast(self.model.head(tf.gather(sequences, steps, axis=1, batch_dims=1)), tf.float32)

    def layers(self, vectors: Vectors) -> list[Unrolled]:
        """Return the recurrent layers over words in their directions."""
        return unrolled(self.model.recurrent, vectors.values[TOKENS], vectors.lengths[TOKENS])

    def _embedded(self, rows: Sequence[Sequence[bytes]]) -> Vectors:
        arrays = self.encoder(tf.ragged.constant(rows, tf.string, ragged_rank=1))
        model = self.model
        values = model.embedding(arrays["token_ids"])
        if model.character_encoder is not None:
            of_types = model.character_encoder(arrays["characters"], arrays["character_lengths"])
            values = tf.concat([values, tf.gather(of_types, arrays["word_types"])], axis=-1)
        return Vectors(
            {TOKENS: tf.cast(values, tf.float32)}, {TOKENS: arrays["lengths"]}, arrays["token_ids"]
        )
