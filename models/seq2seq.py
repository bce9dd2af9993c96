"""Many to many, of another length: from the tokens of a source to the scores of each token of its target.

An encoder encodes the source; a decoder generates the target token by token (Sutskever et al. 2014; Cho et
al. 2014) and attends to the steps of the source (Bahdanau et al. 2015; Luong et al. 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models.kernels import portable
from models.layers.attention import Attention
from models.layers.cells import get_cell
from models.layers.dropout import Dropout
from models.layers.embedding import Embedding
from models.layers.recurrent import RecurrentStack, recurrent_layer
from models.layers.word_dropout import WordDropout
from models.network import Network
from models.settings import Seq2SeqSettings

# What one step of decoding passes to the next: nested tensors with a row for each hypothesis.
State = dict[str, Any]

# The entries of a state that no step changes: a search may close over them with repeated rows.
FIXED = ("memory", "keys", "lengths", "context")


@keras.saving.register_keras_serializable("textrnn")
class Seq2Seq(Network):
    """Embedding and recurrent encoder; recurrent decoder, attention, attentional state, softmax.

    The attentional state h̃ = tanh(W [context; hidden state]) (Luong et al. 2015, equation 5) predicts the
    next token. Without attention the context is the encoder's final output at every
    step, which is also an input of each step of the decoder (Cho et al. 2014).
    """

    settings_class = Seq2SeqSettings
    settings: Seq2SeqSettings

    def __init__(
        self,
        settings: Seq2SeqSettings,
        *,
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        shared: bool = False,
        **options: Any,
    ) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters. `dropout` applies to embeddings, between layers, to the outputs of the
                encoder, to the attentional state before the output layer and where it is fed to the next
                step; `recurrent_dropout` to the encoder only. With `tie_embeddings` the attentional state has
                the size of the embeddings (Press and Wolf 2017), else that of the hidden state.
            source_vocabulary_size: number of token ids of the source, including the special ones.
            target_vocabulary_size: the same of the target.
            shared: whether source and target share one embedding, which needs one vocabulary for both.
            options: of `keras.Model`.
        """
        if shared and source_vocabulary_size != target_vocabulary_size:
            raise ValueError(
                "shared embeddings need one vocabulary, got sizes "
                f"{source_vocabulary_size} and {target_vocabulary_size}"
            )
        arguments = {
            "source_vocabulary_size": source_vocabulary_size,
            "target_vocabulary_size": target_vocabulary_size,
            "shared": shared,
        }
        super().__init__(settings, arguments, **options)
        units, layers, dropout = settings.units, settings.layers, settings.dropout
        self.cell = get_cell(settings.cell)
        self.shared = shared
        self.input_feeding = settings.input_feeding
        self.attentional_size = settings.embedding_size if settings.tie_embeddings else units

        def embedding(size: int, name: str) -> Embedding:
            return Embedding(size, settings.embedding_size, name=name)

        self.source_word_dropout = WordDropout(settings.word_dropout, name="source_word_dropout")
        self.target_word_dropout = WordDropout(settings.word_dropout, name="target_word_dropout")
        self.target_embedding = embedding(target_vocabulary_size, "target_embedding")
        self.source_embedding = (
            self.target_embedding if shared else embedding(source_vocabulary_size, "source_embedding")
        )
        self.dropout = Dropout(dropout, locked=settings.locked_dropout, name="dropout")
        self.encoder = RecurrentStack(settings, runner=self.runner, name="encoder")
        self.bridge = keras.layers.Dense(layers * self.cell.states * units, activation="tanh", name="bridge")
        self.decoder = [
            recurrent_layer(settings, recurrent_dropout=0.0, name=f"decoder_{i}") for i in range(layers)
        ]
        self.attention = (
            None if settings.attention == "none" else Attention(settings.attention, units, name="attention")
        )
        self.attentional = keras.layers.Dense(
            self.attentional_size, activation="tanh", use_bias=False, name="attentional"
        )
        self.head = (
            None
            if settings.tie_embeddings
            else keras.layers.Dense(target_vocabulary_size, use_bias=False, name="head")
        )

    def build(self, *_: Any, **__: Any) -> None:
        """Create all weights; their shapes follow from settings and arguments alone."""
        units, width = self.settings.units, self.settings.embedding_size
        self.target_embedding.build((None, None))
        if not self.shared:
            self.source_embedding.build((None, None))
        self.encoder.build((None, None, width))
        memory = self.encoder.output_size
        assert memory is not None
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
            shape=(self.arguments["target_vocabulary_size"],), initializer="zeros", name="output_bias"
        )
        self.built = True

    def make_portable(self) -> None:
        """Make the recurrent layers portable, see `RecurrentStack.make_portable`; single steps are."""
        self.encoder.make_portable()
        if not self.input_feeding:
            for layer in self.decoder:
                portable.prepare(layer)

    def cudnn_layers(self) -> int:
        """Return the number of `RecurrentStack.cudnn_layers` of the encoder."""
        return self.encoder.cudnn_layers()

    def decoder_cudnn_layers(self) -> int:
        """Return how many layers of the decoder `call` runs on cuDNN on a host with a GPU, once portable."""
        return 0 if self.input_feeding else sum(map(portable.has_cudnn_kernel, self.decoder))

    def call(
        self,
        source_ids: tf.Tensor,
        source_lengths: tf.Tensor,
        target_ids: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Return the logits of each next token, given the ones before it (teacher forcing).

        Args:
            source_ids: int32 [B, S], right-padded.
            source_lengths: int32 [B], each from 1 to S.
            target_ids: int32 [B, T], the inputs of the decoder: `END_ID` first, then the target's tokens
                except the last one, right-padded; no lengths are needed, since no step depends on later ones.
            training: whether to apply dropout.

        Returns:
            logits float [B, T, V]; meaningless beyond a row's length.
        """
        state = self.encode(source_ids, source_lengths, training=training)
        embedded = self.target_embedding(self.target_word_dropout(target_ids, training=training))
        return self.next_logits(self.decode_vectors(embedded, state, training=training))

    def decode_vectors(
        self, embedded: tf.Tensor, state: State, training: bool = False, differentiable: bool = False
    ) -> tf.Tensor:
        """Return the attentional state of each step of the decoder, the input of the output layer.

        Args:
            embedded: float [B, T, E], vectors of the inputs of the decoder.
            state: of `encode`.
            training: whether to apply dropout.
            differentiable: as of `RecurrentStack.call`.

        Returns:
            float [B, T, A].
        """
        embedded = self.dropout(embedded, training=training)
        masks = self._masks(tf.shape(embedded)[0], embedded.dtype, training)
        if self.input_feeding:
            found = self._fed_steps(embedded, state, masks, training)
        else:
            found = self._free_steps(embedded, state, masks, training, differentiable)
        return self.dropout(found, training=training)

    def encode(self, source_ids: tf.Tensor, source_lengths: tf.Tensor, training: bool = False) -> State:
        """Encode the source.

        Args:
            source_ids: int32 [B, S], right-padded.
            source_lengths: int32 [B], each from 1 to S.
            training: whether to apply dropout.

        Returns:
            the state before the first `step`, nested tensors with B rows, with these entries: `hidden`, the
            decoder's; `attentional` [B, A]; without attention, `context` [B, D]; with it, `memory`
            [B, S, D], `keys` [B, S, U] and `lengths` [B] of the source, `attention` [B, S], the last
            step's weights, and `coverage` [B, S], their sum over all steps, but 1 on padding, which
            needs no more. Those in `FIXED` never change.
        """
        embedded = self.source_embedding(self.source_word_dropout(source_ids, training=training))
        return self.encode_vectors(embedded, source_lengths, training=training)

    def encode_vectors(
        self,
        embedded: tf.Tensor,
        source_lengths: tf.Tensor,
        training: bool = False,
        differentiable: bool = False,
    ) -> State:
        """Encode the vectors of a source, float [B, S, E], as `encode` does its ids.

        `differentiable` is that of `RecurrentStack.call`.
        """
        memory, final = self.encoder(
            self.dropout(embedded, training=training),
            source_lengths,
            training=training,
            differentiable=differentiable,
        )
        count = self.cell.states
        parts = tf.split(self.bridge(final), self.settings.layers * count, axis=1)
        rows = tf.shape(embedded)[0]
        state: State = {
            "hidden": tuple(tuple(parts[i : i + count]) for i in range(0, len(parts), count)),
            "attentional": tf.zeros([rows, self.attentional_size], final.dtype),
        }
        if not self.attention:
            return {**state, "context": self.dropout(final, training=training)}
        memory = self.dropout(memory, training=training)
        real = tf.sequence_mask(source_lengths, tf.shape(embedded)[1])
        return {
            **state,
            "memory": memory,
            "keys": self.attention.keys(memory),
            "lengths": source_lengths,
            "attention": tf.zeros_like(real, tf.float32),
            "coverage": tf.cast(~real, tf.float32),
        }

    def step(self, token_ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Run one step of decoding.

        Args:
            token_ids: int32 [N], the previous token; `END_ID` at the first step.
            state: of `encode` or of the step before, with N rows.

        Returns:
            logits float [N, V] of the next token; the state of the next step.
        """
        state = self._advance(self.target_embedding(token_ids), state, None, training=False)
        return self.next_logits(state["attentional"]), state

    def _masks(self, rows: tf.Tensor, dtype: tf.DType, training: bool) -> list[tf.Tensor] | None:
        """Return dropout masks of fed state and layers, one for all steps (Gal and Ghahramani 2016)."""
        if not training or not self.settings.dropout:
            return None
        widths = [self.attentional_size] + [self.settings.units] * (self.settings.layers - 1)
        ones = (tf.ones([rows, width], dtype) for width in widths)
        return [self.dropout(each, training=True) for each in ones]

    def _fed_steps(
        self, embedded: tf.Tensor, state: State, masks: list[tf.Tensor] | None, training: bool
    ) -> tf.Tensor:
        """Return the attentional states [B, T, A], computed step by step."""
        steps = tf.shape(embedded)[1]
        by_step = tf.transpose(embedded, [1, 0, 2])
        fixed: State = {name: state[name] for name in FIXED if name in state}
        outputs = tf.TensorArray(embedded.dtype, steps, element_shape=[None, self.attentional_size])

        def body(i: tf.Tensor, hidden: Any, attentional: tf.Tensor, outputs: tf.TensorArray) -> Any:
            before = {**fixed, "hidden": hidden, "attentional": attentional}
            after = self._advance(by_step[i], before, masks, training)
            return i + 1, after["hidden"], after["attentional"], outputs.write(i, after["attentional"])

        *_, outputs = tf.while_loop(
            lambda i, *_: i < steps,
            body,
            (tf.constant(0), state["hidden"], state["attentional"], outputs),
            maximum_iterations=steps,
        )
        return tf.transpose(outputs.stack(), [1, 0, 2])

    def _free_steps(
        self,
        embedded: tf.Tensor,
        state: State,
        masks: list[tf.Tensor] | None,
        training: bool,
        differentiable: bool,
    ) -> tf.Tensor:
        """Return the attentional states [B, T, A], all steps of a layer at once: nothing is fed back."""
        steps = tf.shape(embedded)[1]
        sequences = embedded
        if not self.attention:
            contexts = tf.repeat(state["context"][:, tf.newaxis], steps, axis=1)
            sequences = tf.concat([sequences, contexts], axis=2)
        for i, layer in enumerate(self.decoder):
            if i and masks:
                sequences *= masks[i][:, tf.newaxis]
            sequences, _ = self.runner.run(
                [layer],
                sequences,
                None,
                state["hidden"][i],
                training=training,
                differentiable=differentiable,
            )
        if self.attention:
            contexts, _ = self.attention(sequences, state["keys"], state["memory"], state["lengths"])
        return self.attentional(tf.concat([contexts, sequences], axis=2))

    def _single_step(
        self, layer: keras.layers.RNN, inputs: tf.Tensor, state: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, ...]:
        return self.runner.step(layer, inputs, state, otherwise=_keras_step)

    def _advance(
        self, embedded: tf.Tensor, state: State, masks: list[tf.Tensor] | None, training: bool
    ) -> State:
        """Return the state after one step with embedded tokens [N, E]."""
        inputs = [embedded]
        if not self.attention:
            inputs.append(state["context"])
        if self.input_feeding:
            inputs.append(state["attentional"] * masks[0] if masks else state["attentional"])
        output = tf.concat(inputs, axis=1)
        hidden: list[tuple[tf.Tensor, ...]] = []
        step = _keras_step if training else self._single_step
        for i, layer in enumerate(self.decoder):
            if i and masks:
                output *= masks[i]
            hidden.append(step(layer, output, state["hidden"][i]))
            output = hidden[-1][0]
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

    def next_logits(self, attentional: tf.Tensor) -> tf.Tensor:
        """Return the logits of all tokens: [..., A] → [..., V]."""
        # Outside of `call` Keras does not cast weights to the compute dtype.
        bias = tf.cast(self.bias, attentional.dtype)
        if self.head:
            return self.head(attentional) + bias
        table = tf.cast(self.target_embedding.embeddings, attentional.dtype)
        return keras.ops.matmul(attentional, tf.transpose(table)) + bias


def _keras_step(
    layer: keras.layers.RNN, inputs: tf.Tensor, state: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, ...]:
    """Return the state after one step; its first tensor is the output."""
    _, after = layer.cell(inputs, list(state))
    return tuple(after)
