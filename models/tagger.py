"""Many to many: from the tokens of a text to one tag for each, and optionally a label for the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from models.hidden_units import states_of
from models.kernels.runner import Runner
from models.layers.bioes import SpanEnds
from models.layers.crf import CRF, Allowed, as_lists, forbidding, marginals, viterbi
from models.layers.dropout import Dropout
from models.layers.embedding import Embedding
from models.layers.fixed import add_fixed, weighted_sum
from models.layers.pooling import Pooling
from models.layers.recurrent import RecurrentStack
from models.layers.token_features import TokenFeatures
from models.layers.word_dropout import WordDropout
from models.losses import soft_cross_entropy, token_cross_entropy
from models.network import Network
from models.settings import BidirectionalSettings, TaggerSettings
from models.tokenizer import CharacterTokenizer

_FILTER_WIDTHS = (2, 3, 4)
_WORDS_AT_ONCE = 4096
"""Words that are encoded at once outside of training, so that a text of many words takes bounded memory."""


@keras.saving.register_keras_serializable("textrnn")
class CharacterEncoder(keras.layers.Layer):
    """Encoder of words from their characters.

    `recurrent`: the final states of a bidirectional LSTM (Ling et al. 2015; Lample et al. 2016).
    `convolution`: the maxima of filters over 2, 3 and 4 characters (Ma and Hovy 2016).
    """

    def __init__(
        self,
        kind: Literal["recurrent", "convolution"],
        *,
        vocabulary_size: int,
        embedding_size: int,
        units: int,
        runner: Runner | None = None,
        **options: Any,
    ) -> None:
        """Create the layers.

        Args:
            kind: see above.
            vocabulary_size: number of character ids, the special ones included.
            embedding_size: width of a character's vector.
            units: of each direction, or filters of all widths together.
            runner: as of `RecurrentStack`.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**options)
        self.arguments = {
            "kind": kind,
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "units": units,
        }
        self.embedding = Embedding(vocabulary_size, embedding_size, name="embedding")
        self.in_parts = False
        self.recurrent: RecurrentStack | None = None
        self.filters: list[keras.layers.Conv1D] = []
        self.output_size = units
        if kind == "recurrent":
            self.recurrent = RecurrentStack(
                BidirectionalSettings(cell="lstm", units=units, layers=1, bidirectional=True, dropout=0.0),
                runner=runner,
                name="recurrent",
            )
            self.output_size = 2 * units
        elif kind == "convolution":
            for i, width in enumerate(_FILTER_WIDTHS):
                share = (units + i) // len(_FILTER_WIDTHS)
                if share:
                    self.filters.append(keras.layers.Conv1D(share, width, name=f"filters_{width}"))
        else:
            raise ValueError(f"kind is one of recurrent, convolution; got {kind!r}")

    def build(self, *_: Any) -> None:
        """Create the weights; their shapes follow from the arguments alone."""
        self.embedding.build((None, None))
        for layer in (self.recurrent, *self.filters):
            if layer is not None:
                layer.build((None, None, self.arguments["embedding_size"]))
        self.built = True

    def make_portable(self) -> None:
        """Make recurrent layers portable, see `RecurrentStack.make_portable`, and encode words in parts."""
        self.in_parts = True
        if self.recurrent is not None:
            self.recurrent.make_portable()

    def call(self, characters: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Encode words: character ids int32 [U, C], right-padded, lengths int32 [U] (≥ 1) → float [U, D]."""
        if not self.in_parts:
            return self._encode(characters, lengths)
        count = tf.shape(characters)[0]

        def encode_part(begin: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            end = begin + _WORDS_AT_ONCE
            part = self._encode(characters[begin:end], lengths[begin:end])
            return end, tf.concat([encoded, part], axis=0)

        _, encoded = tf.while_loop(
            lambda begin, _: begin < count,
            encode_part,
            (tf.constant(0), tf.zeros([0, self.output_size], self.compute_dtype)),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, self.output_size])),
        )
        return encoded

    def _encode(self, characters: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        embedded = self.embedding(characters)
        if self.recurrent is not None:
            return self.recurrent(embedded, lengths)[1]
        real = tf.sequence_mask(lengths, tf.shape(characters)[1])[:, :, None]
        embedded = tf.where(real, embedded, tf.zeros_like(embedded))
        maxima = []
        for layer in self.filters:
            # Each filter also covers the edges of a word, which is padded with zeros.
            edge = layer.kernel_size[0] - 1
            found = layer(tf.pad(embedded, [[0, 0], [edge, edge], [0, 0]]))
            touching = tf.sequence_mask(lengths + edge, tf.shape(found)[1])[:, :, None]
            maxima.append(tf.reduce_max(tf.where(touching, found, found.dtype.min), axis=1))
        return tf.tanh(tf.concat(maxima, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), **self.arguments}


@keras.saving.register_keras_serializable("textrnn")
class Tagger(Network):
    """Word embeddings and character features, dropout, recurrent layers, dropout, a dense head a token.

    A CRF may score the tags of a sentence together (Huang et al. 2015). With sentence labels, the maximum
    and the mean of the inputs of the head are the input of a second head; both are trained together (Liu and
    Lane 2016).
    With `layers=0` each token is tagged by itself, as a baseline. With `token_features` a linear model of the
    features of tokens adds its scores to those of the head, but not in training: it has nothing to learn by
    gradients.

    With an alphabet there is a `CharacterTokenizer`, which shares nothing with the other layers; else
    `tokenizer` is None.
    """

    settings_class = TaggerSettings
    settings: TaggerSettings

    def __init__(
        self,
        settings: TaggerSettings,
        *,
        vocabulary_size: int,
        tags: int,
        labels: int = 0,
        character_vocabulary_size: int = 0,
        allowed: Allowed | None = None,
        inside: Sequence[int] = (),
        alphabet: Sequence[int] = (),
        feature_entries: int = 0,
        **options: Any,
    ) -> None:
        """Create the layers.

        Args:
            settings: hyper-parameters.
            vocabulary_size: number of word ids, including the special ones.
            tags: number of tags K.
            labels: number of sentence labels; 0 for none.
            character_vocabulary_size: number of character ids, including the special ones.
            allowed: start [K], step [K, K] (from, to) and end [K] of bool: the tag sequences that decoding
                may return, with a CRF or without; None allows all. With `inside` K is the number of learned
                tags.
            inside: of `models.layers.bioes.SpanEnds`, with `tag_scheme="bioes"`; empty: tags are learned as
                they are.
            alphabet: code points that the tokenizer knows; empty for none, where tokens come from rules.
            feature_entries: maximum number of features of tokens.
            options: of `keras.Model`.
        """
        arguments = {
            "vocabulary_size": vocabulary_size,
            "tags": tags,
            "labels": labels,
            "character_vocabulary_size": character_vocabulary_size,
            "allowed": as_lists(allowed),
            "inside": list(inside),
            "alphabet": list(alphabet),
        }
        if settings.token_features:
            arguments["feature_entries"] = feature_entries
        super().__init__(settings, arguments, **options)
        self.labels = labels
        self.span_ends = SpanEnds(inside) if inside else None
        tags = self.span_ends.size if self.span_ends else tags
        self.word_dropout = WordDropout(settings.word_dropout, name="word_dropout")
        self.embedding = Embedding(vocabulary_size, settings.embedding_size, name="embedding")
        self.character_encoder: CharacterEncoder | None = None
        if settings.character_features != "none":
            self.character_encoder = CharacterEncoder(
                settings.character_features,
                vocabulary_size=character_vocabulary_size,
                embedding_size=settings.character_embedding_size,
                units=settings.character_units,
                runner=self.runner,
                name="character_encoder",
            )
        locked = settings.locked_dropout
        self.feature_dropout = Dropout(settings.dropout, locked=locked, name="feature_dropout")
        self.recurrent = RecurrentStack(settings, runner=self.runner, name="recurrent")
        self.head_dropout = Dropout(settings.dropout, locked=locked, name="head_dropout")
        self.head = keras.layers.Dense(tags, name="head")
        self.token_features: TokenFeatures | None = None
        if settings.token_features:
            self.token_features = TokenFeatures(
                tags=tags, entries=max(feature_entries, 1), name="token_features"
            )
        self.crf = CRF(tags, allowed=allowed, name="crf") if settings.crf else None
        self.forbidden = None if allowed is None else forbidding(allowed)
        if labels:
            self.pooling = Pooling("max_mean", name="pooling")
            self.label_dropout = Dropout(settings.dropout, name="label_dropout")
            self.label_head = keras.layers.Dense(labels, name="label_head")
        self.tokenizer = (
            CharacterTokenizer(alphabet, runner=self.runner, name="tokenizer") if alphabet else None
        )

    def build(self, *_: Any, **__: Any) -> None:
        """Create all weights; their shapes follow from settings and arguments alone."""
        width = self.settings.embedding_size
        self.embedding.build((None, None))
        if self.character_encoder is not None:
            self.character_encoder.build()
            width += self.character_encoder.output_size
        self.recurrent.build((None, None, width))
        width = self.recurrent.output_size or width
        self.head.build((None, None, width))
        if self.token_features is not None:
            self.token_features.build()
            self.branch_weights = add_fixed(self, "branch_weights", (2,), 1)
        if self.crf is not None:
            self.crf.build()
        if self.labels:
            self.pooling.build((None, None, width))
            self.label_head.build((None, self.pooling.output_size(width)))
            if self.settings.calibrated:
                self.label_scale = add_fixed(self, "label_scale", (1,), 1)
        if self.tokenizer is not None:
            self.tokenizer.build()
        self.built = True

    def make_portable(self) -> None:
        """Make the recurrent layers portable, see `RecurrentStack.make_portable`."""
        self.recurrent.make_portable()
        if self.character_encoder is not None:
            self.character_encoder.make_portable()
        if self.tokenizer is not None:
            self.tokenizer.make_portable()

    def cudnn_layers(self) -> int:
        """Return the number of `RecurrentStack.cudnn_layers`, including those over the characters of words.

        Those of the tokenizer are not included.
        """
        stacks = [self.recurrent]
        if self.character_encoder is not None and self.character_encoder.recurrent is not None:
            stacks.append(self.character_encoder.recurrent)
        return sum(stack.cudnn_layers() for stack in stacks)

    def call(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        word_types: tf.Tensor | None = None,
        characters: tf.Tensor | None = None,
        character_lengths: tf.Tensor | None = None,
        word_features: tf.Tensor | None = None,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Return scores.

        The characters and features of each distinct word of a batch are encoded once. What the settings turn
        off may be omitted.

        Args:
            token_ids: int32 [B, T], right-padded.
            lengths: int32 [B], each from 1 to T.
            word_types: int32 [B, T], the row of `characters` for each token; any row for padding.
            characters: int32 [U, C], character ids, right-padded.
            character_lengths: int32 [U], each from 1 to C.
            word_features: int32 [U, F], of `models.text.word_features.word_features`.
            training: whether to apply dropout.

        Returns:
            `emissions` float [B, T, K], the scores of each token's learned tags (meaningless beyond a row's
            length), and with sentence labels `label_logits` float [B, L]. With `token_features`, but not in
            training, also the scores that they are the sum of, `recurrent` and `features` float32 [B, T, K].
            Calibrated label logits come with `unscaled_label_logits` float32 [B, L].
        """
        sequences, final = self._encoded(
            token_ids, lengths, word_types, characters, character_lengths, training=training
        )
        outputs = {"emissions": self.head(self.head_dropout(sequences, training=training))}
        if self.labels:
            pooled = self.pooling(sequences, final, lengths)
            logits = self.label_head(self.label_dropout(pooled, training=training))
            if self.settings.calibrated and not training:
                outputs["unscaled_label_logits"] = logits = tf.cast(logits, tf.float32)
                logits = weighted_sum(self.label_scale, [logits])
            outputs["label_logits"] = logits
        if self.token_features is not None and not training:
            outputs["recurrent"] = tf.cast(outputs["emissions"], tf.float32)
            outputs["features"] = self.token_features(word_features, word_types, lengths)
            outputs["emissions"] = self.joined(outputs["recurrent"], outputs["features"])
        return outputs

    def _encoded(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        word_types: tf.Tensor | None,
        characters: tf.Tensor | None,
        character_lengths: tf.Tensor | None,
        *,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what `RecurrentStack.call` returns for the tokens; arguments are those of `call`."""
        features = self.embedding(self.word_dropout(token_ids, training=training))
        if self.character_encoder is not None:
            of_types = self.character_encoder(characters, character_lengths)
            features = tf.concat([features, tf.gather(of_types, word_types)], axis=-1)
        features = self.feature_dropout(features, training=training)
        found: tuple[tf.Tensor, tf.Tensor] = self.recurrent(features, lengths, training=training)
        return found

    def hidden_states(
        self,
        units: Sequence[int],
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        word_types: tf.Tensor | None = None,
        characters: tf.Tensor | None = None,
        character_lengths: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the output of some units of the top recurrent layer after each token.

        Args:
            units: indices below `recurrent.output_size`, N of them.
            token_ids: as of `call`, like the other arguments.
            lengths: of the rows.
            word_types: of the tokens.
            characters: of the distinct words.
            character_lengths: of the distinct words.

        Returns:
            float32 [B, T, N]; 0 on padding.
        """
        sequences, _ = self._encoded(
            token_ids, lengths, word_types, characters, character_lengths, training=False
        )
        return states_of(units, sequences, lengths)

    def joined(self, recurrent: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the scores of both branches: float32 [..., K]."""
        return weighted_sum(self.branch_weights, [recurrent, features])

    def learned_tags(self, tags: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return what the network learns of tags: int32 [B, T], lengths int32 [B] → int32 [B, T]."""
        return tags if self.span_ends is None else self.span_ends.learned(tags, lengths)

    def tag_losses(
        self,
        outputs: dict[str, tf.Tensor],
        tags: tf.Tensor,
        lengths: tf.Tensor,
        label_smoothing: float = 0.0,
    ) -> tf.Tensor:
        """Return the loss of each row's tags, in nats; divide by the number of real tokens for a mean.

        With a CRF it is the negative log-probability of the tag sequence, else the sum of the cross-entropies
        of real tokens.

        Args:
            outputs: of `call`.
            tags: int32 [B, T]; beyond a row's length any tag.
            lengths: int32 [B].
            label_smoothing: as of `models.losses.cross_entropy`; a CRF ignores it: its targets are whole
                sequences.

        Returns:
            float32 [B].
        """
        emissions = tf.cast(outputs["emissions"], tf.float32)
        tags = self.learned_tags(tags, lengths)
        if self.crf is not None:
            return -self.crf.log_likelihood(emissions, tags, lengths)
        real = tf.sequence_mask(lengths, tf.shape(tags)[1])
        return tf.reduce_sum(token_cross_entropy(emissions, tags, real, label_smoothing), axis=1)

    def taught_losses(
        self,
        outputs: dict[str, tf.Tensor],
        probabilities: tf.Tensor,
        lengths: tf.Tensor,
        temperature: tf.Tensor | float = 1.0,
    ) -> tf.Tensor:
        """Return the loss of each row's tags against a teacher's probabilities, in nats.

        With one-hot probabilities and a temperature of 1 it is `tag_losses`.

        Args:
            outputs: of `call`.
            probabilities: float32 [B, T, K] of the learned tags; 0 beyond a row's length.
            lengths: int32 [B].
            temperature: all scores are divided by it.

        Returns:
            float32 [B].
        """
        emissions = tf.cast(outputs["emissions"], tf.float32)
        if self.crf is not None:
            return -self.crf.expected_log_likelihood(emissions, probabilities, lengths, temperature)
        real = tf.sequence_mask(lengths, tf.shape(emissions)[1])
        nats = tf.where(real, soft_cross_entropy(emissions, probabilities, temperature), 0.0)
        return tf.reduce_sum(nats, axis=1)

    def decode(self, outputs: dict[str, tf.Tensor], lengths: tf.Tensor) -> tf.Tensor:
        """Return the best allowed tags of each row.

        Args:
            outputs: of `call`.
            lengths: int32 [B].

        Returns:
            int32 [B, T]; 0 beyond a row's length.
        """
        tags = self._decoded(outputs["emissions"], lengths)
        if self.span_ends is not None:
            tags = self.span_ends.of_data(tags)
        return tf.where(tf.sequence_mask(lengths, tf.shape(tags)[1]), tags, 0)

    def _decoded(self, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        if self.crf is not None:
            return self.crf.decode(emissions, lengths)
        if self.forbidden is not None:
            return viterbi(emissions, lengths, *self.forbidden)
        return tf.argmax(emissions, axis=-1, output_type=tf.int32)

    def tag_probabilities(
        self, outputs: dict[str, tf.Tensor], lengths: tf.Tensor, temperature: float = 1.0
    ) -> tf.Tensor:
        """Return the probability of each tag of each token, over all allowed tag sequences of the row.

        Args:
            outputs: of `call`.
            lengths: int32 [B].
            temperature: all scores are divided by it.

        Returns:
            float32 [B, T, K]; 0 beyond a row's length.
        """
        probabilities = self.learned_probabilities(outputs, lengths, temperature)
        return probabilities if self.span_ends is None else self.span_ends.joined(probabilities)

    def learned_probabilities(
        self, outputs: dict[str, tf.Tensor], lengths: tf.Tensor, temperature: float = 1.0
    ) -> tf.Tensor:
        """Return probabilities as `tag_probabilities` does, but of the learned tags."""
        emissions = tf.cast(outputs["emissions"], tf.float32)
        if self.crf is not None:
            return self.crf.marginals(emissions, lengths, temperature)
        emissions = emissions / temperature
        if self.forbidden is not None:
            return marginals(emissions, lengths, *self.forbidden)
        real = tf.sequence_mask(lengths, tf.shape(emissions)[1])[:, :, None]
        return tf.where(real, tf.nn.softmax(emissions), 0.0)
