"""A translator in a graph: tokenization, beam search and detokenization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.tasks.tokenizing import tokenizer_options
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.vocabularies import target_name, target_vocabulary
from models.decoding.beam import beam_search, repeat_rows
from models.seq2seq import FIXED, State
from models.text.detokenize import detokenize
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, PADDING_ID, UNKNOWN_ID

SHORTEST_LIMIT = 10


class Translator(tf.Module):
    """From source texts to translations."""

    def __init__(
        self, model: keras.Model, preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig
    ) -> None:
        """Create the lookup tables.

        Args:
            model: a `models.seq2seq.Seq2Seq`.
            preprocessing: of the run.
            config: of the run.
        """
        super().__init__(name="translator")
        self._model: Callable[[], keras.Model] = lambda: model  # its variables belong to another object
        self._kind = config.text.tokens
        self._target = list(target_vocabulary(preprocessing, config))
        facts = preprocessing.facts
        options = tokenizer_options(config, facts, collapse=True, joins=config.text.shared)
        self.source = Preprocessor(preprocessing.vocabulary, **options)
        options = tokenizer_options(config, facts, vocabulary=target_name(config), collapse=True, joins=True)
        self.target = Preprocessor(self._target, **(options | {"max_length": 0}))
        self._attends = config.model.attention != "none"

    def __call__(
        self,
        texts: tf.Tensor,
        width: int | tf.Tensor,
        length_penalty: float | tf.Tensor,
        coverage_penalty: float | tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Return the best translation that a search of this width finds: string [B] → `text`, `score` [B]."""
        pieces = tokenize(texts, **self.source.options)
        source, lengths = self.source.look_up(pieces)
        ids, counts, scores = self.search(
            source, lengths, width=width, length_penalty=length_penalty, coverage_penalty=coverage_penalty
        )
        has_tokens = pieces.row_lengths() > 0
        return {
            "text": tf.where(has_tokens, self.decode(ids[:, 0], counts[:, 0]), ""),
            "score": tf.where(has_tokens, scores[:, 0], 0.0),
        }

    def attention(
        self,
        texts: tf.Tensor,
        width: int | tf.Tensor,
        length_penalty: float | tf.Tensor,
        coverage_penalty: float | tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Return the attention weights of the best translation (Bahdanau et al. 2015, figure 3).

        Args:
            texts: string [B].
            width: of the search.
            length_penalty: see `beam_search`.
            coverage_penalty: see `beam_search`.

        Returns:
            `source` string [B, S], the source tokens; `source_length` int32 [B]; `target` string [B, T], the
            tokens of the translation, the end token last; `target_length` int32 [B]; `attention` float
            [B, T, S], the weights of the source tokens for each target token, which sum to 1; `text` string
            [B]. Padding is empty strings and zeros; a text without tokens has the lengths 0.
        """
        pieces = tokenize(texts, **self.source.options)
        source, lengths = self.source.look_up(pieces)
        state = self._model().encode(source, lengths)
        ids, counts, _ = self._search(
            state, lengths, width=width, length_penalty=length_penalty, coverage_penalty=coverage_penalty
        )
        has_tokens = pieces.row_lengths() > 0
        ids, counts = ids[:, 0], tf.where(has_tokens, counts[:, 0], 0)
        target_length = tf.where(has_tokens, counts + 1, 0)
        tokens = tf.RaggedTensor.from_tensor(
            tf.gather(tf.constant(self._target, tf.string), ids), lengths=tf.cast(counts, tf.int64)
        )
        ends = tf.fill([tf.shape(texts)[0], 1], self._target[END_ID])
        target = tf.concat([tokens, ends], axis=1).to_tensor("")
        weights = self._attend(state, ids[:, : tf.shape(target)[1] - 1])
        real = tf.sequence_mask(target_length, tf.shape(target)[1])
        return {
            "source": pieces.to_tensor("", shape=tf.stack([-1, tf.shape(source)[1]])),
            "source_length": tf.cast(pieces.row_lengths(), tf.int32),
            "target": tf.where(real, target, ""),
            "target_length": target_length,
            "attention": tf.where(real[:, :, tf.newaxis], weights, 0.0),
            "text": self.decode(ids, counts),
        }

    def _attend(self, state: State, ids: tf.Tensor) -> tf.Tensor:
        """Return the attention weights of the steps that predict ids and the end token.

        int32 [B, T] → float [B, T + 1, S].
        """
        model = self._model()
        fixed = {name: state[name] for name in FIXED if name in state}
        before = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END_ID)
        steps = tf.shape(before)[1]

        def body(i: tf.Tensor, state: Any, found: tf.TensorArray) -> tuple[Any, ...]:
            _, after = model.step(before[:, i], {**fixed, **state})
            return i + 1, {name: after[name] for name in state}, found.write(i, after["attention"])

        *_, found = tf.while_loop(
            lambda i, *_: i < steps,
            body,
            (
                tf.constant(0),
                {name: value for name, value in state.items() if name not in FIXED},
                tf.TensorArray(tf.float32, steps, element_shape=[None, None]),
            ),
        )
        return tf.transpose(found.stack(), [1, 0, 2])

    def search(
        self,
        source: tf.Tensor,
        lengths: tf.Tensor,
        *,
        width: int | tf.Tensor,
        length_penalty: float | tf.Tensor = 1.0,
        coverage_penalty: float | tf.Tensor = 0.0,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Run `beam_search`: source int32 [B, S], lengths int32 [B] → ids, lengths, scores."""
        return self._search(
            self._model().encode(source, lengths),
            lengths,
            width=width,
            length_penalty=length_penalty,
            coverage_penalty=coverage_penalty,
        )

    def _search(
        self,
        state: State,
        lengths: tf.Tensor,
        *,
        width: int | tf.Tensor,
        length_penalty: float | tf.Tensor,
        coverage_penalty: float | tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Run `beam_search` from the state of the encoder."""
        model = self._model()
        start = tf.fill([tf.shape(lengths)[0]], END_ID)
        logits, state = model.step(start, state)
        fixed = repeat_rows({name: state[name] for name in FIXED if name in state}, width)
        moving = {name: value for name, value in state.items() if name not in FIXED}

        def step(ids: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
            logits, after = model.step(ids, {**fixed, **state})
            return tf.cast(logits, tf.float32), {name: after[name] for name in state}

        return beam_search(
            step,
            moving,
            tf.cast(logits, tf.float32),
            end_id=END_ID,
            max_length=2 * lengths + SHORTEST_LIMIT,
            width=width,
            length_penalty=length_penalty,
            coverage_penalty=coverage_penalty,
            coverage=(lambda state: state["coverage"]) if self._attends else None,
            forbidden=[PADDING_ID, UNKNOWN_ID],
        )

    def decode(self, ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the texts of token ids: int32 [B, T], lengths int32 [B] → string [B], valid UTF-8."""
        tokens = tf.gather(tf.constant(self._target, tf.string), ids)
        pieces = tf.RaggedTensor.from_tensor(tokens, lengths=tf.cast(lengths, tf.int64))
        texts = detokenize(pieces, self._kind, joins=self.target.options["joins"])
        if self._kind == "byte":  # a model of bytes may predict any sequence
            texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        return tf.strings.regex_replace(texts, "^ ", "")

    def pair(self, source: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the inputs and targets of the model for pairs of texts: string [B] each."""
        ids, lengths = self.source(source)
        pieces = tokenize(target, **self.target.options)
        tokens = self.target.ids(pieces)
        ends = tf.fill([tf.shape(target)[0], 1], END_ID)
        following = tf.concat([tokens, ends], axis=1)
        before = tf.concat([ends, tokens], axis=1)
        return {
            "source": ids,
            "source_lengths": lengths,
            "before": before.to_tensor(PADDING_ID),
            "following": following.to_tensor(PADDING_ID),
            "lengths": tf.cast(following.row_lengths(), tf.int32),
        }
