"""Generation: a text's tokens in, at each step one score for every token that may follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from models.kernels import portable
from models.layers.embedding import Embedding
from models.layers.recurrent import CELLS, Cell
from models.layers.word_dropout import WordDropout
from models.text import END_ID

State = tuple[tuple[tf.Tensor, ...], ...]  # of each layer: h, and for an LSTM c; each float [N, units]


@keras.saving.register_keras_serializable("textrnn")
class LanguageModel(keras.Model):
    """Embedding, dropout, recurrent layers, dropout, a dense head over the vocabulary.

    Texts are streams: a state is given and returned, so that a text may be read in pieces. A document is
    read from a state of zeros, with `END_ID` before its first token. With labels, each step's input is the
    sum of its token's vector and of its text's label's, so that a text of some label can be asked for.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        embedding_size: int,
        cell: Cell,
        units: int,
        layers: int = 1,
        activation: str = "tanh",
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        word_dropout: float = 0.0,
        tie_embeddings: bool = False,
        labels: int = 0,
        **options: Any,
    ) -> None:
        """Makes the layers.

        Args:
            vocabulary_size: number of token ids, the special ones included.
            embedding_size: width of a token's vector.
            cell: `simple`, `gru` or `lstm`.
            units: width of the hidden state.
            layers: recurrent layers, at least 1.
            activation: of the recurrent layers.
            dropout: share dropped of embedding features, between layers, and before the head.
            weight_dropout: share of the weights between a hidden state and the next that is dropped, one
                choice for all rows and steps of a batch (DropConnect; Merity et al. 2018, section 2).
            recurrent_dropout: share of the hidden state dropped at each step.
            word_dropout: share of tokens read as unknown in training.
            tie_embeddings: whether the head's weights are the embedding's (Press and Wolf 2017), behind a
                projection to its width where that is not the hidden state's.
            labels: number of labels a text may have; 0 for none. The id after the last says "none given".
            options: of `keras.Model`.
        """
        super().__init__(**options)
        if layers < 1:
            raise ValueError(f"a language model has at least 1 recurrent layer, got {layers}")
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "cell": cell,
            "units": units,
            "layers": layers,
            "activation": activation,
            "dropout": dropout,
            "weight_dropout": weight_dropout,
            "recurrent_dropout": recurrent_dropout,
            "word_dropout": word_dropout,
            "tie_embeddings": tie_embeddings,
            "labels": labels,
        }
        self.labels = labels
        self.portable = False
        self.word_dropout = WordDropout(word_dropout, name="word_dropout")
        self.embedding = Embedding(vocabulary_size, embedding_size, name="embedding")
        self.label_embedding = (
            Embedding(labels + 1, embedding_size, name="label_embedding") if labels else None
        )
        self.embedding_dropout = keras.layers.Dropout(dropout, name="embedding_dropout")
        self.recurrent = [
            CELLS[cell](
                units,
                activation=activation,
                recurrent_dropout=recurrent_dropout,
                return_sequences=True,
                return_state=True,
                name=f"recurrent_{i}",
            )
            for i in range(layers)
        ]
        self.between = [keras.layers.Dropout(dropout, name=f"between_{i}") for i in range(1, layers)]
        self.weight_dropout = weight_dropout
        self.weight_seed = keras.random.SeedGenerator()
        self.head_dropout = keras.layers.Dropout(dropout, name="head_dropout")
        self.head: keras.layers.Layer = (
            TiedHead(self.embedding, project=units != embedding_size, name="head")
            if tie_embeddings
            else keras.layers.Dense(vocabulary_size, name="head")
        )

    def build(self, *_: Any, **__: Any) -> None:
        """Creates all weights; shapes follow from the arguments alone."""
        width = self.settings["embedding_size"]
        self.embedding.build((None, None))
        if self.label_embedding is not None:
            self.label_embedding.build((None,))
        for layer in self.recurrent:
            layer.build((None, None, width))
            width = self.settings["units"]
        self.head.build((None, width))
        self.built = True

    def make_portable(self) -> None:
        """See `RecurrentStack.make_portable`."""
        self.portable = True
        for layer in self.recurrent:
            portable.prepare(layer)

    def cudnn_layers(self) -> int:
        """How many layers a host with a GPU runs on cuDNN, where the model is portable and reads a text."""
        return sum(portable.has_cudnn_kernel(layer) for layer in self.recurrent)

    def initial_state(self, rows: int | tf.Tensor) -> State:
        """The state before anything was read: zeros, float [rows, units] each."""
        units = self.settings["units"]
        per_layer = 2 if self.settings["cell"] == "lstm" else 1
        return tuple(
            tuple(tf.zeros([rows, units]) for _ in range(per_layer)) for _ in range(self.settings["layers"])
        )

    def call(
        self,
        token_ids: tf.Tensor,
        state: State | None = None,
        labels: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, State]:
        """Reads a piece of each stream.

        Args:
            token_ids: int32 [S, T].
            state: where the streams were left; nothing starts them.
            labels: int32 [S], from 0 to the number of labels; nothing for "none given".
            training: whether dropout is on.

        Returns:
            logits of each step's next token, float [S, T, V]; the state behind the last step.
        """
        rows = tf.shape(token_ids)[0]
        state = self.initial_state(rows) if state is None else state
        sequences = self.embedding(self.word_dropout(token_ids, training=training))
        condition = self._condition(labels, rows)
        if condition is not None:
            sequences += condition[:, tf.newaxis]
        sequences = self.embedding_dropout(sequences, training=training)
        behind = []
        for i, layer in enumerate(self.recurrent):
            if i:
                sequences = self.between[i - 1](sequences, training=training)
            sequences, *layer_state = self._run(layer, sequences, state[i], training)
            behind.append(tuple(layer_state))
        return self.head(self.head_dropout(sequences, training=training)), tuple(behind)

    def step(
        self, token_ids: tf.Tensor, state: State, labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, State]:
        """Reads one token of each stream, without dropout and without the cost of Keras's layers.

        Args:
            token_ids: int32 [N].
            state: where the streams were left.
            labels: int32 [N], as in `call`.

        Returns:
            logits of the next token, float [N, V]; the state behind the token.
        """
        state = self._advance(token_ids, state, self._condition(labels, tf.shape(token_ids)[0]))
        return self.head(state[-1][0]), state

    def read(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        state: State | None = None,
        labels: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Reads prompts of different lengths, each to its own end.

        Args:
            token_ids: int32 [B, T], right-padded. A document's prompt starts with `END_ID`.
            lengths: int32 [B], each from 1 to T.
            state: where the streams were left; nothing starts them.
            labels: int32 [B], as in `call`.

        Returns:
            logits of the token that follows each prompt, float [B, V]; the state behind each prompt.
        """
        sequences = tf.gather(self.embedding.embeddings, token_ids)
        condition = self._condition(labels, tf.shape(token_ids)[0])
        if condition is not None:
            sequences += condition[:, tf.newaxis]
        lengths = tf.cast(lengths, tf.int32)
        behind = []
        for i, layer in enumerate(self.recurrent):
            start = None if state is None else state[i]
            sequences, after = portable.run(layer, sequences, lengths, start, wants_state=True)
            behind.append(after)
        return self.head(behind[-1][0]), tuple(behind)

    def score(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        window: int = 128,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """How unlikely documents are, in one pass however long they are.

        They are read in windows with the state carried on: no more than [B, window, V] logits are held.

        Args:
            token_ids: int32 [B, T], right-padded, without the `END_ID` that is read before them (and
                with one behind them if it is to count).
            lengths: int32 [B], each from 1 to T.
            labels: int32 [B], as in `call`.
            window: steps read at a time.

        Returns:
            the sum of -log p over each document's tokens, float [B]; the number of them, int32 [B].
        """
        token_ids, lengths = tf.cast(token_ids, tf.int32), tf.cast(lengths, tf.int32)
        rows, steps = tf.unstack(tf.shape(token_ids))
        token_ids = tf.pad(token_ids, [[0, 0], [0, -steps % window]])
        read = tf.concat([tf.fill([rows, 1], END_ID), token_ids[:, :-1]], axis=1)

        def body(start: tf.Tensor, nats: tf.Tensor, state: State) -> tuple[tf.Tensor, tf.Tensor, State]:
            logits, state = self(read[:, start : start + window], state, labels)
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
            window: number of steps that are read at a time.

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
                sequences, own = portable.run(layer, sequences, tf.maximum(left, 1), before, wants_state=True)
                reads = (left > 0)[:, tf.newaxis]
                after.append(tuple(tf.where(reads, new, old) for new, old in zip(own, before, strict=True)))
            logits = tf.cast(self.head(sequences), tf.float32)
            own_targets = targets[:, start : start + window]
            of_steps = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=own_targets, logits=logits)
            real = tf.sequence_mask(left, window)
            is_correct = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), own_targets) & real
            of_window = tf.reduce_sum(tf.where(real, of_steps, 0.0), axis=1)
            return (
                start + window,
                nats + tf.cast(of_window, tf.float64),
                correct + tf.reduce_sum(tf.cast(is_correct, tf.int32), axis=1),
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

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this model again."""
        return {**super().get_config(), **self.settings}

    def _condition(self, labels: tf.Tensor | None, rows: tf.Tensor) -> tf.Tensor | None:
        """The labels' vectors, float [rows, D]."""
        if self.label_embedding is None:
            if labels is not None:
                raise ValueError("labels were given to a language model that was made without any")
            return None
        labels = tf.fill([rows], self.labels) if labels is None else labels
        return tf.gather(self.label_embedding.embeddings, labels)

    def _advance(self, token_ids: tf.Tensor, state: State, condition: tf.Tensor | None) -> State:
        """The state behind one token more: token_ids int32 [N], condition float [N, D]."""
        inputs = tf.gather(self.embedding.embeddings, token_ids)
        if condition is not None:
            inputs += condition
        behind = []
        for layer, layer_state in zip(self.recurrent, state, strict=True):
            layer_state = _CELL_STEPS[self.settings["cell"]](layer.cell, inputs, layer_state)
            inputs = layer_state[0]
            behind.append(layer_state)
        return tuple(behind)

    def _run(
        self, layer: keras.layers.RNN, sequences: tf.Tensor, state: tuple[tf.Tensor, ...], training: bool
    ) -> list[tf.Tensor]:
        """One layer's outputs and its last state, with some of its recurrent weights dropped in training."""
        if self.portable and not training:
            rows, steps = tf.unstack(tf.shape(sequences)[:2])
            found, after = portable.run(layer, sequences, tf.fill([rows], steps), state, wants_state=True)
            return [found, *after]
        if not (training and self.weight_dropout):
            outputs: list[tf.Tensor] = layer(sequences, initial_state=list(state), training=training)
            return outputs
        kernel = layer.cell.recurrent_kernel
        dropped = keras.random.dropout(kernel, self.weight_dropout, seed=self.weight_seed)
        # The layer finds other weights under its variable's name, whichever kernel it runs.
        with keras.StatelessScope(state_mapping=[(kernel, dropped)]) as scope:
            outputs = layer(sequences, initial_state=list(state), training=training)
        for variable in layer.non_trainable_variables:  # seeds moved on inside the scope, and there only
            moved = scope.get_current_value(variable)
            if moved is not None:
                variable.assign(moved)
        return outputs


@keras.saving.register_keras_serializable("textrnn")
class TiedHead(keras.layers.Layer):
    """A dense head whose weights are an embedding's (Press and Wolf 2017)."""

    def __init__(self, embedding: Embedding, *, project: bool, **options: Any) -> None:
        """Makes the layer.

        Args:
            embedding: of V tokens, D wide.
            project: whether features are brought to that width first, by a matrix without a bias.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.embedding = embedding
        self.projection = (
            keras.layers.Dense(embedding.output_dim, use_bias=False, name="projection") if project else None
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights: input_shape (..., features)."""
        if self.projection is not None:
            self.projection.build(input_shape)
        self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Features float [..., D'] → logits float [..., V]."""
        if self.projection is not None:
            features = self.projection(features)
        return keras.ops.matmul(features, keras.ops.transpose(self.embedding.embeddings)) + self.bias


def _simple_step(
    cell: keras.layers.SimpleRNNCell, inputs: tf.Tensor, state: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, ...]:
    """Elman 1990; one step as `keras.layers.SimpleRNN` takes it: [N, D], ([N, U],) → ([N, U],)."""
    (h,) = state
    gates = tf.matmul(inputs, cell.kernel) + tf.matmul(h, cell.recurrent_kernel)
    return (cell.activation(gates + cell.bias),)


def _gru_step(
    cell: keras.layers.GRUCell, inputs: tf.Tensor, state: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, ...]:
    """Cho et al. 2014, its reset gate behind the product, as `keras.layers.GRU` has it."""
    (h,) = state
    of_input, of_hidden = tf.unstack(tf.convert_to_tensor(cell.bias))
    x_z, x_r, x_h = tf.split(tf.matmul(inputs, cell.kernel) + of_input, 3, axis=-1)
    h_z, h_r, h_h = tf.split(tf.matmul(h, cell.recurrent_kernel) + of_hidden, 3, axis=-1)
    z = cell.recurrent_activation(x_z + h_z)
    r = cell.recurrent_activation(x_r + h_r)
    return (z * h + (1 - z) * cell.activation(x_h + r * h_h),)


def _lstm_step(
    cell: keras.layers.LSTMCell, inputs: tf.Tensor, state: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, ...]:
    """Hochreiter and Schmidhuber 1997, as `keras.layers.LSTM` has it: (h, c) → (h, c)."""
    h, c = state
    gates = tf.matmul(inputs, cell.kernel) + tf.matmul(h, cell.recurrent_kernel)
    i, f, candidate, o = tf.split(gates + cell.bias, 4, axis=-1)
    c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(candidate)
    return cell.recurrent_activation(o) * cell.activation(c), c


_CELL_STEPS: dict[str, Callable[..., tuple[tf.Tensor, ...]]] = {
    "simple": _simple_step,
    "gru": _gru_step,
    "lstm": _lstm_step,
}
