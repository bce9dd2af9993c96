"""A tokenizer that learns where the tokens of a corpus begin and end, from characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from models.kernels.runner import Runner
from models.layers.dropout import Dropout
from models.layers.embedding import Embedding
from models.layers.recurrent import RecurrentStack
from models.layers.word_dropout import WordDropout
from models.settings import BidirectionalSettings
from models.text.boundaries import (
    STRIDE,
    TRAINING_STRIDE,
    Visible,
    located_tokens,
    read_characters,
    token_edges,
    windows,
)
from models.text.code_points import CLASSES, class_table, id_table
from models.text.locate import Located
from models.text.tokens import PADDING_ID, UNKNOWN_ID

_FIRST_ID = max(PADDING_ID, UNKNOWN_ID) + 1
_EMBEDDING, _CLASS_EMBEDDING, _FILTERS, _WIDTH, _UNITS = 32, 8, 48, 5, 48
_DROPOUT, _UNKNOWN = 0.2, 0.05
_NGRAMS, _FACTOR, _NGRAM_EMBEDDING = 65_521, 40_494, 7
_NGRAM_DROPOUT = {2: 0.5, 3: 0.7}
"""By the number of characters."""


def ngram_ids(ids: tf.Tensor, length: int) -> tf.Tensor:
    """Return an id for the n characters of a row that begin with each character: int32 [B, T] → [B, T].

    It is below `_NGRAMS`. The pairs of 200 characters have different ids: the factor is the golden section of
    a prime number.
    """
    found = ids
    for shift in range(1, length):
        following = tf.pad(ids, [[0, 0], [0, shift]], constant_values=PADDING_ID)[:, shift:]
        found = (found * _FACTOR + following) % _NGRAMS
    return found


@keras.saving.register_keras_serializable("textrnn")
class CharacterTokenizer(keras.layers.Layer):
    """Tokens from characters: embeddings, filters over neighbours, a bidirectional LSTM, one logit each.

    Two and three characters in a row have an embedding, too: without spaces, as in Chinese, these say which
    characters are a word. It follows from their ids, and some of them share one.

    Two variables are not trained. `chosen` is 1 if this tokenizer is to be used, and 0 if the rules of
    `models.text.tokenize` are; `scores` float32 [2] are the token F1 of both on validation texts.
    """

    def __init__(self, alphabet: Sequence[int], *, runner: Runner | None = None, **options: Any) -> None:
        """Create the layers.

        Args:
            alphabet: code points that have an embedding.
            runner: as of `RecurrentStack`.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.alphabet = list(alphabet)
        self.unknown = WordDropout(_UNKNOWN, name="unknown")
        self.embedding = Embedding(_FIRST_ID + len(self.alphabet), _EMBEDDING, name="embedding")
        self.class_embedding = Embedding(CLASSES, _CLASS_EMBEDDING, name="class_embedding")
        self.ngram_embeddings = [
            Embedding(_NGRAMS, _NGRAM_EMBEDDING, name=f"embedding_of_{length}") for length in _NGRAM_DROPOUT
        ]
        self.ngram_dropouts = [
            keras.layers.Dropout(rate, noise_shape=(None, None, 1), name=f"dropout_of_{length}")
            for length, rate in _NGRAM_DROPOUT.items()
        ]
        self.filters = keras.layers.Conv1D(
            _FILTERS, _WIDTH, padding="same", activation="relu", name="filters"
        )
        self.input_dropout = Dropout(_DROPOUT, name="input_dropout")
        self.recurrent = RecurrentStack(
            BidirectionalSettings(cell="lstm", units=_UNITS, layers=1, bidirectional=True, dropout=0.0),
            runner=runner,
            name="recurrent",
        )
        self.output_dropout = Dropout(_DROPOUT, name="output_dropout")
        self.head = keras.layers.Dense(1, name="head")
        self._classes = class_table()
        self._ids = id_table(self.alphabet, first=_FIRST_ID, unknown=UNKNOWN_ID)

    def build(self, *_: Any) -> None:
        """Create the weights; their shapes follow from the alphabet alone."""
        self.embedding.build((None, None))
        self.class_embedding.build((None, None))
        for embedding in self.ngram_embeddings:
            embedding.build((None, None))
        ngrams = len(self.ngram_embeddings) * _NGRAM_EMBEDDING
        self.filters.build((None, None, _EMBEDDING + _CLASS_EMBEDDING + ngrams))
        self.recurrent.build((None, None, _FILTERS))
        self.head.build((None, None, self.recurrent.output_size))
        self.chosen = self.add_weight(name="chosen", shape=(), initializer="zeros", trainable=False)
        self.scores = self.add_weight(name="scores", shape=(2,), initializer="zeros", trainable=False)
        self.built = True

    def make_portable(self) -> None:
        """Make the recurrent layers portable, see `RecurrentStack.make_portable`."""
        self.recurrent.make_portable()

    def visible(self, code_points: tf.Tensor, lengths: tf.Tensor) -> Visible:
        """Return visible characters of which only the code points are known: int32 [N], int32 [B]."""
        no = tf.zeros_like(code_points, tf.bool)
        return Visible(code_points, self._classes(code_points), lengths, no)

    def call(self, visible: Visible, training: bool = False) -> tf.Tensor:
        """Return the logit that a token ends after a character, or that a space separates: float32 [N]."""
        cut = windows(visible.lengths, TRAINING_STRIDE if training else STRIDE)
        ids = self.unknown(self._ids(visible.code_points), training=training)
        ids, classes = (
            tf.gather(tf.concat([values, [0]], 0), cut.places) for values in (ids, visible.classes)
        )
        features = [self.embedding(ids), self.class_embedding(classes)]
        ngrams = zip(_NGRAM_DROPOUT, self.ngram_embeddings, self.ngram_dropouts, strict=True)
        for length, embedding, dropout in ngrams:
            features.append(dropout(embedding(ngram_ids(ids, length)), training=training))
        features = tf.concat(features, axis=-1)
        real = tf.sequence_mask(cut.lengths, tf.shape(ids)[1])[:, :, tf.newaxis]
        features = self.filters(tf.where(real, features, tf.zeros_like(features)))
        features = self.input_dropout(features, training=training)
        sequences, _ = self.recurrent(features, cut.lengths, training=training)
        logits = self.head(self.output_dropout(sequences, training=training))[:, :, 0]
        return tf.cast(tf.gather_nd(logits, cut.decided), tf.float32)

    def locate(self, texts: tf.Tensor) -> Located:
        """Return the tokens of texts and their positions: string [B]."""
        characters = read_characters(texts, self._classes)
        decisions = self(characters.visible) >= 0
        return located_tokens(characters, *token_edges(characters.visible, decisions))

    def loss(self, code_points: tf.Tensor, lengths: tf.Tensor, boundaries: tf.Tensor) -> tf.Tensor:
        """Return the mean cross-entropy of the decisions in nats, in training mode; 0 if none is scored.

        Args:
            code_points: int32 [N], visible characters.
            lengths: int32 [B], of each text.
            boundaries: int8 [N], 1 for a token that ends or a space that separates, 0 for neither, -1 for a
                character that is not scored.
        """
        logits = self(self.visible(code_points, lengths), training=True)
        nats = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(boundaries > 0, logits.dtype), logits)
        scored = tf.cast(boundaries >= 0, logits.dtype)
        return tf.reduce_sum(nats * scored) / tf.maximum(tf.reduce_sum(scored), 1.0)

    def choose(self, is_learned: bool, learned: float, rules: float) -> None:
        """Set whether this tokenizer is to be used, and the token F1 of both."""
        self.chosen.assign(float(is_learned))
        self.scores.assign([learned, rules])

    def choice(self) -> tuple[Literal["learned", "rules"], float, float]:
        """Return the chosen tokenizer, and the token F1 of the learned one and of the rules."""
        learned, rules = self.scores.numpy().tolist()
        return "learned" if float(self.chosen) else "rules", learned, rules

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), "alphabet": self.alphabet}
