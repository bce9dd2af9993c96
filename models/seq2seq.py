"""Many to many, of another length: a source's tokens in, a score for each next token of its target out.

An encoder reads the source, a decoder writes the target token by token (Sutskever et al. 2014; Cho et al.
2014) and looks back at the source's steps through attention (Bahdanau et al. 2015; Luong et al. 2015).
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers.embedding import Embedding
from models.layers.recurrent import CELLS, Cell, MergeMode, RecurrentStack
from models.layers.word_dropout import WordDropout

AttentionKind = Literal["additive", "multiplicative", "none"]
# What a step of decoding hands to the next: nested tensors, each with a row for each hypothesis.
State = dict[str, Any]

# The entries of a state that no step changes: a search may close over them, its rows repeated.
FIXED = ("memory", "keys", "lengths", "context")

_STATES = {"simple": 1, "gru": 1, "lstm": 2}


def losses(
    logits: tf.Tensor, targets: tf.Tensor, lengths: tf.Tensor, label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """The cross-entropy of targets; padding never counts.

    With label smoothing ε the target distribution is (1 − ε) on the token and ε spread evenly over the
    whole vocabulary (Szegedy et al. 2016, section 7).

    Args:
        logits: float [B, T, V].
        targets: int32 [B, T], the tokens to be predicted.
        lengths: int32 [B], how many of them are real.
        label_smoothing: ε, from 0 to 1.

    Returns:
        the sum over each row's real tokens in nats, float [B]; how many they are, float [B].
        `losses([[[0., 0.]]], [[1]], [1]) -> [0.69], [1.]`
    """
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if label_smoothing:
        # log Z − y is the nats of y: those of every other token follow from them by differences of logits.
        of_target = tf.gather(logits, targets, axis=2, batch_dims=2)
        nats += label_smoothing * (of_target - tf.reduce_mean(logits, axis=2))
    real = tf.sequence_mask(lengths, tf.shape(targets)[1])
    return tf.reduce_sum(tf.where(real, nats, 0.0), axis=1), tf.cast(lengths, tf.float32)


@keras.saving.register_keras_serializable("textrnn")
class Attention(keras.layers.Layer):
    """Looks up the steps of a source that matter to a step of the decoder.

    `additive`: vᵀ tanh(W q + U m) (Bahdanau et al. 2015, appendix A.1.2); `multiplicative`: qᵀ U m (Luong
    et al. 2015, equation 8, "general"). The query q is the decoder's state after its step, as in Luong et
    al., with either score.
    """

    def __init__(self, kind: AttentionKind, units: int, **options: Any) -> None:
        """Makes the layer.

        Args:
            kind: `additive` or `multiplicative`.
            units: width of the queries, and of the keys.
            options: of `keras.layers.Layer`.
        """
        if kind not in ("additive", "multiplicative"):
            raise ValueError(f"attention is one of additive, multiplicative, none; got {kind!r}")
        super().__init__(**options)
        self.kind = kind
        self.units = units
        self.of_memory = keras.layers.Dense(units, use_bias=False, name="of_memory")
        if kind == "additive":
            self.of_query = keras.layers.Dense(units, name="of_query")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights: input_shape (B, S, D) of the memory."""
        self.of_memory.build(tuple(input_shape))
        if self.kind == "additive":
            self.of_query.build((None, None, self.units))
            self.score = self.add_weight(shape=(self.units,), initializer="glorot_uniform", name="score")
        self.built = True

    def keys(self, memory: tf.Tensor) -> tf.Tensor:
        """What queries are compared with, worked out once for a source: [B, S, D] → [B, S, U]."""
        return self.of_memory(memory)

    def call(
        self, queries: tf.Tensor, keys: tf.Tensor, memory: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends.

        Args:
            queries: float [B, T, U].
            keys: float [B, S, U], of `keys`.
            memory: float [B, S, D], right-padded.
            lengths: int32 [B], the real steps of the memory, each from 1 to S.

        Returns:
            contexts [B, T, D], weighted means of the memory; the weights [B, T, S], which sum to 1 over
            the real steps and are 0 on padding.
        """
        if self.kind == "additive":
            compared = tf.tanh(self.of_query(queries)[:, :, tf.newaxis] + keys[:, tf.newaxis])
            scores = tf.reduce_sum(compared * self.score, axis=3)
        else:
            scores = tf.matmul(queries, keys, transpose_b=True)
        real = tf.sequence_mask(lengths, tf.shape(keys)[1])[:, tf.newaxis]
        weights = tf.nn.softmax(tf.where(real, scores, scores.dtype.min))
        return tf.matmul(weights, memory), weights

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "kind": self.kind, "units": self.units}


@keras.saving.register_keras_serializable("textrnn")
class Seq2Seq(keras.Model):
    """Embedding and recurrent encoder; recurrent decoder, attention, attentional state, softmax.

    The attentional state h̃ = tanh(W [context; hidden state]) (Luong et al. 2015, equation 5) is what the
    next token is predicted from. Without attention the context is the encoder's final output at every
    step, which each step of the decoder also reads (Cho et al. 2014).
    """

    def __init__(
        self,
        *,
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        embedding_size: int,
        cell: Cell,
        units: int,
        layers: int = 1,
        bidirectional: bool = True,
        merge_mode: MergeMode = "concat",
        attention: AttentionKind = "multiplicative",
        input_feeding: bool = True,
        shared: bool = False,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        word_dropout: float = 0.0,
        activation: str = "tanh",
        **options: Any,
    ) -> None:
        """Makes the layers.

        Args:
            source_vocabulary_size: number of the source's token ids, the special ones included.
            target_vocabulary_size: number of the target's.
            embedding_size: width of a token's vector.
            cell: `simple`, `gru` or `lstm`, of encoder and decoder.
            units: width of the hidden state, of each direction of the encoder and of the decoder.
            layers: recurrent layers of the encoder, and of the decoder; at least 1.
            bidirectional: whether each layer of the encoder also reads backwards.
            merge_mode: how two directions are joined.
            attention: `additive`, `multiplicative` or `none`.
            input_feeding: whether a step of the decoder also reads the attentional state of the step before
                (Luong et al. 2015, section 3.3).
            shared: whether source and target share one table of embeddings, which asks for one vocabulary.
            tie_embeddings: whether the target's embeddings are also the output matrix (Press and Wolf
                2017); the attentional state then has their width, else that of the hidden state.
            dropout: share dropped of embedding features, between layers, of the encoder's outputs, of the
                attentional state before the output and where it is fed to the next step.
            recurrent_dropout: share of the encoder's hidden state dropped at each step.
            word_dropout: share of tokens, of source and target, read as unknown in training.
            activation: of the recurrent layers.
            options: of `keras.Model`.
        """
        if shared and source_vocabulary_size != target_vocabulary_size:
            raise ValueError(
                "shared embeddings need one vocabulary, got sizes "
                f"{source_vocabulary_size} and {target_vocabulary_size}"
            )
        if layers < 1:
            raise ValueError(f"layers is at least 1, got {layers}")
        super().__init__(**options)
        self.settings: dict[str, Any] = {
            "source_vocabulary_size": source_vocabulary_size,
            "target_vocabulary_size": target_vocabulary_size,
            "embedding_size": embedding_size,
            "cell": cell,
            "units": units,
            "layers": layers,
            "bidirectional": bidirectional,
            "merge_mode": merge_mode,
            "attention": attention,
            "input_feeding": input_feeding,
            "shared": shared,
            "tie_embeddings": tie_embeddings,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "word_dropout": word_dropout,
            "activation": activation,
        }
        self.input_feeding = input_feeding
        self.attentional_size = embedding_size if tie_embeddings else units

        def embedding(size: int, name: str) -> Embedding:
            return Embedding(size, embedding_size, name=name)

        self.source_word_dropout = WordDropout(word_dropout, name="source_word_dropout")
        self.target_word_dropout = WordDropout(word_dropout, name="target_word_dropout")
        self.target_embedding = embedding(target_vocabulary_size, "target_embedding")
        self.source_embedding = (
            self.target_embedding if shared else embedding(source_vocabulary_size, "source_embedding")
        )
        self.dropout = keras.layers.Dropout(dropout, name="dropout")
        self.encoder = RecurrentStack(
            cell=cell,
            units=units,
            layers=layers,
            bidirectional=bidirectional,
            merge_mode=merge_mode,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            activation=activation,
            name="encoder",
        )
        self.bridge = keras.layers.Dense(layers * _STATES[cell] * units, activation="tanh", name="bridge")
        self.decoder = [
            CELLS[cell](units, activation=activation, return_sequences=True, name=f"decoder_{i}")
            for i in range(layers)
        ]
        self.attention = None if attention == "none" else Attention(attention, units, name="attention")
        self.attentional = keras.layers.Dense(
            self.attentional_size, activation="tanh", use_bias=False, name="attentional"
        )
        self.head = (
            None
            if tie_embeddings
            else keras.layers.Dense(target_vocabulary_size, use_bias=False, name="head")
        )

    def build(self, *_: Any, **__: Any) -> None:
        """Creates all weights; shapes follow from the arguments alone."""
        units, width = self.settings["units"], self.settings["embedding_size"]
        self.target_embedding.build((None, None))
        if not self.settings["shared"]:
            self.source_embedding.build((None, None))
        self.encoder.build((None, None, width))
        memory = self.encoder.output_size
        self.bridge.build((None, memory))
        if self.attention:
            self.attention.build((None, None, memory))
        else:
            width += memory
        if self.input_feeding:
            width += self.attentional_size
        for layer in self.decoder:
            layer.build((None, None, width))
            width = units
        self.attentional.build((None, None, memory + units))
        if self.head:
            self.head.build((None, None, self.attentional_size))
        self.bias = self.add_weight(
            shape=(self.settings["target_vocabulary_size"],), initializer="zeros", name="output_bias"
        )
        self.built = True

    def make_portable(self) -> None:
        """See `RecurrentStack.make_portable`; a decoder goes step by step with any host's kernels."""
        self.encoder.make_portable()

    def cudnn_layers(self) -> int:
        """See `RecurrentStack.cudnn_layers`; the encoder's."""
        return self.encoder.cudnn_layers()

    def call(
        self,
        source_ids: tf.Tensor,
        source_lengths: tf.Tensor,
        target_ids: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Scores of each next token, given the ones before it (teacher forcing).

        Args:
            source_ids: int32 [B, S], right-padded.
            source_lengths: int32 [B], each from 1 to S.
            target_ids: int32 [B, T], what the decoder reads: `text.END_ID` first, then the target's tokens
                but for its last one, right-padded; their lengths need not be known, since no step depends on
                those behind it.
            training: whether dropout is on.

        Returns:
            logits float [B, T, V]; meaningless beyond a row's length.
        """
        state = self.encode(source_ids, source_lengths, training=training)
        embedded = self.target_embedding(self.target_word_dropout(target_ids, training=training))
        embedded = self.dropout(embedded, training=training)
        masks = self._masks(tf.shape(target_ids)[0], embedded.dtype, training)
        run = self._fed_steps if self.input_feeding else self._free_steps
        return self._logits(self.dropout(run(embedded, state, masks), training=training))

    def encode(self, source_ids: tf.Tensor, source_lengths: tf.Tensor, training: bool = False) -> State:
        """Reads the source.

        Args:
            source_ids: int32 [B, S], right-padded.
            source_lengths: int32 [B], each from 1 to S.
            training: whether dropout is on.

        Returns:
            the state in which `step` begins, nested tensors with B rows, of these entries: `hidden`, the
            decoder's; `attentional` [B, A]; without attention, `context` [B, D]; with it, `memory`
            [B, S, D], `keys` [B, S, U] and `lengths` [B] of the source, `attention` [B, S], the last
            step's weights, and `coverage` [B, S], their sum over all steps, but 1 on padding, which
            asks for no more. Those in `FIXED` never change.
        """
        embedded = self.source_embedding(self.source_word_dropout(source_ids, training=training))
        memory, final = self.encoder(
            self.dropout(embedded, training=training), source_lengths, training=training
        )
        count = _STATES[self.settings["cell"]]
        parts = tf.split(self.bridge(final), self.settings["layers"] * count, axis=1)
        rows = tf.shape(source_ids)[0]
        state: State = {
            "hidden": tuple(tuple(parts[i : i + count]) for i in range(0, len(parts), count)),
            "attentional": tf.zeros([rows, self.attentional_size], final.dtype),
        }
        if not self.attention:
            return {**state, "context": self.dropout(final, training=training)}
        memory = self.dropout(memory, training=training)
        real = tf.sequence_mask(source_lengths, tf.shape(source_ids)[1])
        return {
            **state,
            "memory": memory,
            "keys": self.attention.keys(memory),
            "lengths": source_lengths,
            "attention": tf.zeros_like(real, tf.float32),
            "coverage": tf.cast(~real, tf.float32),
        }

    def step(self, token_ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One step of decoding.

        Args:
            token_ids: int32 [N], the token before; `text.END_ID` at the first step.
            state: of `encode` or of the step before, with N rows.

        Returns:
            logits float [N, V] of the next token; the state of the next step.
        """
        state = self._advance(self.target_embedding(token_ids), state, None)
        return self._logits(state["attentional"]), state

    def _masks(self, rows: tf.Tensor, dtype: tf.DType, training: bool) -> list[tf.Tensor] | None:
        """Dropout that is one for all steps of a row (Gal and Ghahramani 2016): fed state, layers' inputs."""
        if not training or not self.settings["dropout"]:
            return None
        widths = [self.attentional_size] + [self.settings["units"]] * (self.settings["layers"] - 1)
        ones = (tf.ones([rows, width], dtype) for width in widths)
        return [self.dropout(each, training=True) for each in ones]

    def _fed_steps(self, embedded: tf.Tensor, state: State, masks: list[tf.Tensor] | None) -> tf.Tensor:
        """Attentional states [B, T, A], step by step."""
        steps = tf.shape(embedded)[1]
        by_step = tf.transpose(embedded, [1, 0, 2])
        fixed: State = {name: state[name] for name in FIXED if name in state}
        outputs = tf.TensorArray(embedded.dtype, steps, element_shape=[None, self.attentional_size])

        def body(i: tf.Tensor, hidden: Any, attentional: tf.Tensor, outputs: tf.TensorArray) -> Any:
            after = self._advance(by_step[i], {**fixed, "hidden": hidden, "attentional": attentional}, masks)
            return i + 1, after["hidden"], after["attentional"], outputs.write(i, after["attentional"])

        *_, outputs = tf.while_loop(
            lambda i, *_: i < steps,
            body,
            (tf.constant(0), state["hidden"], state["attentional"], outputs),
            maximum_iterations=steps,
        )
        return tf.transpose(outputs.stack(), [1, 0, 2])

    def _free_steps(self, embedded: tf.Tensor, state: State, masks: list[tf.Tensor] | None) -> tf.Tensor:
        """Attentional states [B, T, A], all steps of a layer at once: nothing is fed back."""
        steps = tf.shape(embedded)[1]
        sequences = embedded
        if not self.attention:
            contexts = tf.repeat(state["context"][:, tf.newaxis], steps, axis=1)
            sequences = tf.concat([sequences, contexts], axis=2)
        for i, layer in enumerate(self.decoder):
            if i and masks:
                sequences *= masks[i][:, tf.newaxis]
            sequences = layer(sequences, initial_state=list(state["hidden"][i]))
        if self.attention:
            contexts, _ = self.attention(sequences, state["keys"], state["memory"], state["lengths"])
        return self.attentional(tf.concat([contexts, sequences], axis=2))

    def _advance(self, embedded: tf.Tensor, state: State, masks: list[tf.Tensor] | None) -> State:
        """The state after one step that reads embedded tokens [N, E]."""
        inputs = [embedded]
        if not self.attention:
            inputs.append(state["context"])
        if self.input_feeding:
            inputs.append(state["attentional"] * masks[0] if masks else state["attentional"])
        output = tf.concat(inputs, axis=1)
        hidden = []
        for i, layer in enumerate(self.decoder):
            if i and masks:
                output *= masks[i]
            output, after = layer.cell(output, list(state["hidden"][i]))
            hidden.append(tuple(after))
        state = {**state, "hidden": tuple(hidden)}
        if self.attention:
            context, weights = self.attention(
                output[:, tf.newaxis], state["keys"], state["memory"], state["lengths"]
            )
            context = context[:, 0]
            if "coverage" in state:
                state["attention"] = tf.cast(weights[:, 0], tf.float32)
                state["coverage"] += state["attention"]
        else:
            context = state["context"]
        state["attentional"] = self.attentional(tf.concat([context, output], axis=1))
        return state

    def _logits(self, attentional: tf.Tensor) -> tf.Tensor:
        """Scores of all tokens: [..., A] → [..., V]."""
        # Outside of `call` Keras does not cast weights to the type that is computed in.
        bias = tf.cast(self.bias, attentional.dtype)
        if self.head:
            return self.head(attentional) + bias
        table = tf.cast(self.target_embedding.embeddings, attentional.dtype)
        return keras.ops.matmul(attentional, tf.transpose(table)) + bias

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this model again, which computes in whatever type is then the default.

        Its layers do so anyway: what was trained in half precision is served in float32.
        """
        config = super().get_config()
        config.pop("dtype", None)
        return {**config, **self.settings}
