"""Many to one: a text's tokens in, one score for each class out."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.pooling import Pooling, PoolingKind
from models.recurrent import Cell, MergeMode, RecurrentStack
from models.word_dropout import WordDropout


@keras.saving.register_keras_serializable("textrnn")
class Classifier(keras.Model):
    """Embedding, dropout, recurrent layers, pooling, dropout, a dense head.

    With `layers=0` it is the feed-forward network over pooled embeddings, to compare with.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        classes: int,
        embedding_size: int,
        cell: Cell,
        units: int,
        layers: int = 1,
        bidirectional: bool = False,
        merge_mode: MergeMode = "concat",
        pooling: PoolingKind = "last",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        word_dropout: float = 0.0,
        activation: str = "tanh",
        **options: Any,
    ) -> None:
        """Makes the layers.

        Args:
            vocabulary_size: number of token ids, the special ones included.
            classes: number of classes.
            embedding_size: width of a token's vector.
            cell: `simple`, `gru` or `lstm`.
            units: width of the hidden state, of each direction.
            layers: recurrent layers; 0 for none.
            bidirectional: whether each layer also reads backwards.
            merge_mode: how two directions are joined.
            pooling: how steps become one vector.
            dropout: share dropped of embedding features, between layers, and before the head.
            recurrent_dropout: share of the hidden state dropped at each step.
            word_dropout: share of tokens read as unknown in training.
            activation: of the recurrent layers.
            options: of `keras.Model`.
        """
        super().__init__(**options)
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "classes": classes,
            "embedding_size": embedding_size,
            "cell": cell,
            "units": units,
            "layers": layers,
            "bidirectional": bidirectional,
            "merge_mode": merge_mode,
            "pooling": pooling,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "word_dropout": word_dropout,
            "activation": activation,
        }
        self.word_dropout = WordDropout(word_dropout, name="word_dropout")
        self.embedding = keras.layers.Embedding(vocabulary_size, embedding_size, name="embedding")
        self.embedding_dropout = keras.layers.Dropout(dropout, name="embedding_dropout")
        self.recurrent = RecurrentStack(
            cell=cell,
            units=units,
            layers=layers,
            bidirectional=bidirectional,
            merge_mode=merge_mode,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            activation=activation,
            name="recurrent",
        )
        self.pooling = Pooling(pooling, name="pooling")
        self.head_dropout = keras.layers.Dropout(dropout, name="head_dropout")
        self.head = keras.layers.Dense(classes, name="head")

    def build(self, *_: Any, **__: Any) -> None:
        """Creates all weights; shapes follow from the arguments alone."""
        width = self.settings["embedding_size"]
        self.embedding.build((None, None))
        self.recurrent.build((None, None, width))
        width = self.recurrent.output_size or width
        self.pooling.build((None, None, width))
        self.head.build((None, 2 * width if self.pooling.kind == "max_mean" else width))
        self.built = True

    def call(self, token_ids: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Scores.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.
            training: whether dropout is on.

        Returns:
            logits float [B, classes].
        """
        embedded = self.embedding(self.word_dropout(token_ids, training=training))
        embedded = self.embedding_dropout(embedded, training=training)
        sequences, final = self.recurrent(embedded, lengths, training=training)
        pooled = self.pooling(sequences, final, lengths)
        return self.head(self.head_dropout(pooled, training=training))

    def make_portable(self) -> None:
        """Keeps the recurrent layers from cuDNN: see `RecurrentStack.make_portable`."""
        self.recurrent.make_portable()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this model again."""
        return {**super().get_config(), **self.settings}
