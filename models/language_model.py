"""A language model: from the tokens of a text to scores of each next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models.kernels import portable
from models.layers.cells import get_cell
from models.layers.dropout import Dropout
from models.layers.embedding import Embedding
from models.layers.recurrent import recurrent_layer
from models.layers.word_dropout import WordDropout
from models.losses import number_correct, token_cross_entropy
from models.network import Network
from models.sampled_softmax import draw, sampled_logits
from models.settings import LanguageModelSettings
from models.text.tokens import END_ID, UNKNOWN_ID

State = tuple[tuple[tf.Tensor, ...], ...]  # of each layer: h, and for an LSTM c; each float [N, units]


@keras.saving.register_keras_serializable("textrnn")
class LanguageModel(Network):
    """Embedding, dropout, recurrent layers, dropout, a dense head over the vocabulary.

    Texts are streams: a state is passed and returned, so that a text can be processed in pieces. A document
    starts with a state of zeros and `END_ID` before its first token. With labels, the input of each step is
    the sum of the vectors of its token and of the label of its text: a label is a condition of generation.
    """

    settings_class = LanguageModelSettings
    settings: LanguageModelSettings

    def __init__(
        self, settings: LanguageModelSettings, *, vocabulary_size: int, labels: int = 0, **options: Any
    ) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters. With `weight_dropout` one choice of dropped weights holds for all rows
                and steps of a batch (DropConnect; Merity et al. 2018, section 2). With `tie_embeddings` the
                weights of the output layer are those of the embedding (Press and Wolf 2017), after a
                projection to the embedding size if the hidden state has another size.
            vocabulary_size: number of token ids, including the special ones.
            labels: number of labels that a text may have; 0 for none. The id after the last label means that
                no label is given.
            options: of `keras.Model`.
        """
        super().__init__(settings, {"vocabulary_size": vocabulary_size, "labels": labels}, **options)
        units, dropout, locked = settings.units, settings.dropout, settings.locked_dropout
        self.cell = get_cell(settings.cell)
        self.vocabulary_size = vocabulary_size
        self.labels = labels
        self.word_dropout = WordDropout(settings.word_dropout, name="word_dropout")
        self.embedding = Embedding(vocabulary_size, settings.embedding_size, name="embedding")
        self.label_embedding = (
            Embedding(labels + 1, settings.embedding_size, name="label_embedding") if labels else None
        )
        self.embedding_dropout = Dropout(dropout, locked=locked, name="embedding_dropout")
        self.recurrent = [
            recurrent_layer(settings, return_state=True, name=f"recurrent_{i}")
            for i in range(settings.layers)
        ]
        self.between = [
            Dropout(dropout, locked=locked, name=f"between_{i}") for i in range(1, settings.layers)
        ]
        self.weight_dropout = settings.weight_dropout
        self.weight_seed = keras.random.SeedGenerator()
        self.samples = 0
        self.head_dropout = Dropout(dropout, locked=locked, name="head_dropout")
        self.head: keras.layers.Layer = (
            TiedHead(self.embedding, project=units != settings.embedding_size, name="head")
            if settings.tie_embeddings
            else keras.layers.Dense(vocabulary_size, name="head")
        )

    def build(self, *_: Any, **__: Any) -> None:
        """Create all weights; their shapes follow from settings and arguments alone."""
        width = self.settings.embedding_size
        self.embedding.build((None, None))
        if self.label_embedding is not None:
            self.label_embedding.build((None,))
        for layer in self.recurrent:
            layer.build((None, None, width))
            width = self.settings.units
        self.head.build((None, width))
        self.built = True

    def make_portable(self) -> None:
        """Make the recurrent layers portable, see `RecurrentStack.make_portable`."""
        self.runner.portable = True
        for layer in self.recurrent:
            portable.prepare(layer)

    def cudnn_layers(self) -> int:
        """Return how many layers a host with a GPU runs on cuDNN once the model is portable."""
        return sum(portable.has_cudnn_kernel(layer) for layer in self.recurrent)

    def initial_state(self, rows: int | tf.Tensor) -> State:
        """Return the state before the first token: zeros, float [rows, units] each."""
        units = self.settings.units
        return tuple(
            tuple(tf.zeros([rows, units]) for _ in range(self.cell.states))
            for _ in range(self.settings.layers)
        )

    def call(
        self,
        token_ids: tf.Tensor,
        state: State | None = None,
        labels: tf.Tensor | None = None,
        training: bool = False,
        head: bool = True,
    ) -> tuple[tf.Tensor, State]:
        """Process a piece of each stream.

        Args:
            token_ids: int32 [S, T].
            state: after the piece before; None at the start.
            labels: int32 [S], from 0 to the number of labels, which means that none is given, as does None.
            training: whether to apply dropout.
            head: whether to apply the output layer.

        Returns:
            logits of each step's next token, float [S, T, V], or without the output layer its inputs, float
            [S, T, units]; the state after the last step.
        """
        rows = tf.shape(token_ids)[0]
        state = self.initial_state(rows) if state is None else state
        sequences = self.embedding(self.word_dropout(token_ids, training=training))
        condition = self._condition(labels, rows)
        if condition is not None:
            sequences += condition[:, tf.newaxis]
        sequences = self.embedding_dropout(sequences, training=training)
        after = []
        for i, layer in enumerate(self.recurrent):
            if i:
                sequences = self.between[i - 1](sequences, training=training)
            sequences, (layer_state,) = self.runner.run(
                [layer],
                sequences,
                None,
                state[i],
                training=training,
                wants_memory=True,
                recurrent_kernel=self._dropped_kernel(layer) if training else None,
            )
            after.append(_float32(layer_state))
        sequences = self.head_dropout(sequences, training=training)
        return self._logits(sequences) if head else sequences, tuple(after)

    def sample_softmax(self, samples: int) -> None:
        """Let `training_scores` use a sampled softmax from the next tracing on; not saved with the model.

        Args:
            samples: number of tokens that a batch shares, less than the vocabulary; 0: the whole vocabulary.
        """
        if samples >= self.vocabulary_size:
            raise ValueError(f"{samples} samples of a vocabulary of {self.vocabulary_size}")
        self.samples = samples

    def training_scores(
        self, token_ids: tf.Tensor, targets: tf.Tensor, state: State, labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, State]:
        """Process a piece of each stream in training mode, up to the scores of which the loss is computed.

        Args:
            token_ids: int32 [S, T].
            targets: int32 [S, T], the token that follows each.
            state: after the piece before.
            labels: as in `call`.

        Returns:
            logits, float32 [S, T, C], and the target of each step among them, int32 [S, T]: those of the
            vocabulary, or with `sample_softmax` those of the target and the samples; the state after the last
            step.
        """
        if not self.samples:
            logits, state = self(token_ids, state, labels, training=True)
            return logits, targets, state
        features, state = self(token_ids, state, labels, training=True, head=False)
        if isinstance(self.head, TiedHead):
            features, table, axis = self.head.projected(features), self.head.embedding.embeddings, 0
        else:
            table, axis = self.head.kernel, 1
        logits = sampled_logits(
            features,
            targets,
            draw(self.vocabulary_size, self.samples, self.weight_seed),
            table=table,
            axis=axis,
            bias=self.head.bias,
        )
        return logits, tf.zeros_like(targets), state

    def step(
        self, token_ids: tf.Tensor, state: State, labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, State]:
        """Process one token of each stream, without dropout and without the overhead of Keras layers.

        Args:
            token_ids: int32 [N].
            state: after the previous token.
            labels: int32 [N], as in `call`.

        Returns:
            logits of the next token, float [N, V]; the state after the token.
        """
        state = self._advance(token_ids, state, self._condition(labels, tf.shape(token_ids)[0]))
        return self._logits(state[-1][0]), state

    def prefill(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        state: State | None = None,
        labels: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Process prompts of different lengths, each up to its last token.

        Args:
            token_ids: int32 [B, T], right-padded. A document's prompt starts with `END_ID`.
            lengths: int32 [B], each from 1 to T.
            state: after the text before; None at the start.
            labels: int32 [B], as in `call`.

        Returns:
            logits of the token that follows each prompt, float [B, V]; the state after each prompt.
        """
        sequences = tf.gather(self.embedding.embeddings, token_ids)
        condition = self._condition(labels, tf.shape(token_ids)[0])
        if condition is not None:
            sequences += condition[:, tf.newaxis]
        lengths = tf.cast(lengths, tf.int32)
        after = []
        for i, layer in enumerate(self.recurrent):
            start = None if state is None else state[i]
            sequences, (layer_state,) = self.runner.run([layer], sequences, lengths, start, wants_memory=True)
            after.append(_float32(layer_state))
        return self._logits(after[-1][0]), tuple(after)

    def score(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        window: int = 128,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the negative log-likelihood of documents, in one pass however long they are.

        They are processed in windows whose state is carried over: [B, window, V] logits exist at once.

        Args:
            token_ids: int32 [B, T], right-padded, without the `END_ID` that precedes them, and with one at
                the end if it counts.
            lengths: int32 [B], each from 1 to T.
            labels: int32 [B], as in `call`.
            window: number of steps processed at a time.

        Returns:
            the sum of -log p over each document's tokens, float [B]; the number of them, int32 [B].
        """
        token_ids, lengths = tf.cast(token_ids, tf.int32), tf.cast(lengths, tf.int32)
        rows, steps = tf.unstack(tf.shape(token_ids))
        token_ids = tf.pad(token_ids, [[0, 0], [0, -steps % window]])
        inputs = tf.concat([tf.fill([rows, 1], END_ID), token_ids[:, :-1]], axis=1)

        def body(start: tf.Tensor, nats: tf.Tensor, state: State) -> tuple[tf.Tensor, tf.Tensor, State]:
            logits, state = self(inputs[:, start : start + window], state, labels)
            of_steps = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=token_ids[:, start : start + window], logits=logits
            )
            is_real = tf.range(start, start + window)[tf.newaxis] < lengths[:, tf.newaxis]
            of_window = tf.reduce_sum(tf.where(is_real, of_steps, 0.0), axis=1)
            return start + window, nats + tf.cast(of_window, tf.float64), state

        state = self.initial_state(rows)
        shapes = tf.nest.map_structure(lambda tensor: tf.TensorShape([None, tensor.shape[1]]), state)
        _, nats, _ = tf.while_loop(
            lambda start, *_: start < tf.reduce_max(lengths),
            body,
            # Of a million tokens' nats, single precision would lose the digits that a comparison needs.
            (tf.constant(0), tf.zeros([rows], tf.float64), state),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None]), shapes),
        )
        return tf.cast(nats, tf.float32), lengths

    def score_piece(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        previous: tf.Tensor,
        state: State,
        labels: tf.Tensor | None = None,
        *,
        window: int = 128,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, State]:
        """Compute the loss of a piece of each document, and the state after it.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 0 to T.
            previous: int32 [B], the token before the piece; `END_ID` at the start of a document.
            state: after the token before `previous`.
            labels: int32 [B], as in `call`.
            window: number of steps processed at a time.

        Returns:
            summed loss in nats float32 [B]; number of tokens with the highest probability int32 [B]; the last
            token of each piece int32 [B]; the state after the token before it.
        """
        rows, steps = tf.unstack(tf.shape(token_ids))
        inputs = tf.concat([previous[:, tf.newaxis], token_ids], axis=1)
        last = tf.gather(inputs, lengths, axis=1, batch_dims=1)
        pad = [[0, 0], [0, -steps % window]]
        inputs, targets = tf.pad(inputs[:, :steps], pad), tf.pad(token_ids, pad)
        condition = self._condition(labels, rows)

        def body(start: tf.Tensor, nats: tf.Tensor, correct: tf.Tensor, state: State) -> tuple[Any, ...]:
            left = tf.clip_by_value(lengths - start, 0, window)
            sequences = tf.gather(self.embedding.embeddings, inputs[:, start : start + window])
            if condition is not None:
                sequences += condition[:, tf.newaxis]
            after = []
            for layer, before in zip(self.recurrent, state, strict=True):
                sequences, (own,) = self.runner.run(
                    [layer], sequences, tf.maximum(left, 1), before, wants_memory=True
                )
                changes = (left > 0)[:, tf.newaxis]
                pairs = zip(_float32(own), before, strict=True)
                after.append(tuple(tf.where(changes, new, old) for new, old in pairs))
            logits = self._logits(sequences)
            own_targets = targets[:, start : start + window]
            real = tf.sequence_mask(left, window)
            of_window = tf.reduce_sum(token_cross_entropy(logits, own_targets, real), axis=1)
            of_correct = number_correct(logits, own_targets, real, axis=1, never=UNKNOWN_ID)
            return (
                start + window,
                nats + tf.cast(of_window, tf.float64),
                correct + tf.cast(of_correct, tf.int32),
                tuple(after),
            )

        shapes = tf.nest.map_structure(lambda tensor: tf.TensorShape([None, tensor.shape[1]]), state)
        _, nats, correct, state = tf.while_loop(
            lambda start, *_: start < tf.reduce_max(lengths),
            body,
            (tf.constant(0), tf.zeros([rows], tf.float64), tf.zeros([rows], tf.int32), state),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([None]), shapes),
        )
        return tf.cast(nats, tf.float32), correct, last, state

    def _logits(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits in float32, also in mixed precision."""
        return tf.cast(self.head(features), tf.float32)

    def _condition(self, labels: tf.Tensor | None, rows: tf.Tensor) -> tf.Tensor | None:
        """Return the vectors of labels, float [rows, D]."""
        if self.label_embedding is None:
            if labels is not None:
                raise ValueError("labels were given to a language model that was made without any")
            return None
        labels = tf.fill([rows], self.labels) if labels is None else labels
        return tf.gather(self.label_embedding.embeddings, labels)

    def _advance(self, token_ids: tf.Tensor, state: State, condition: tf.Tensor | None) -> State:
        """Return the state after one more token: token_ids int32 [N], condition float [N, D]."""
        inputs = tf.gather(self.embedding.embeddings, token_ids)
        if condition is not None:
            inputs += condition
        after = []
        for layer, layer_state in zip(self.recurrent, state, strict=True):
            layer_state = self.runner.step(layer, inputs, layer_state, self._cell_step)
            inputs = layer_state[0]
            after.append(layer_state)
        return tuple(after)

    def _cell_step(
        self, layer: keras.layers.RNN, inputs: tf.Tensor, state: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, ...]:
        return self.cell.step(layer.cell, inputs, tuple(state))

    def _dropped_kernel(self, layer: keras.layers.RNN) -> tf.Tensor | None:
        """Return the recurrent weights of a layer after weight dropout; None without it."""
        if not self.weight_dropout:
            return None
        return keras.random.dropout(layer.cell.recurrent_kernel, self.weight_dropout, seed=self.weight_seed)


def _float32(state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """Return a state in float32, in which it is carried, also in mixed precision."""
    return tuple(tf.cast(value, tf.float32) for value in state)


@keras.saving.register_keras_serializable("textrnn")
class TiedHead(keras.layers.Layer):
    """A dense head with the weights of an embedding (Press and Wolf 2017)."""

    def __init__(self, embedding: Embedding, *, project: bool, **options: Any) -> None:
        """Create the layer.

        Args:
            embedding: of V tokens, D wide.
            project: whether features are first projected to that width, by a matrix without a bias.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.embedding = embedding
        self.projection = (
            keras.layers.Dense(embedding.output_dim, use_bias=False, name="projection") if project else None
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for features of a shape (..., D')."""
        if self.projection is not None:
            self.projection.build(input_shape)
        self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits: features float [..., D'] → float [..., V]."""
        features = self.projected(features)
        return keras.ops.matmul(features, keras.ops.transpose(self.embedding.embeddings)) + self.bias

    def projected(self, features: tf.Tensor) -> tf.Tensor:
        """Return features of the size of the embedding: float [..., D'] → [..., D]."""
        return features if self.projection is None else self.projection(features)
