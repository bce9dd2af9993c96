"""The encoder-decoder, its loss and its validation metrics."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.metrics import Metric, token_scores
from app.tasks.base import Arrays, Losses, NamedAxis, Training, evaluated, head_axes
from app.tasks.translation.bleu import bleu
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.scores import METRICS
from app.tasks.translation.vocabularies import target_vocabulary
from data.batching import Batches

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.tasks.inspection import Inspection
    from models.layers.recurrent import RecurrentStack

MOST_TRANSLATED = 1000
"""Approximate number of validation examples that are translated after an epoch."""


class TranslationTraining(Training[TranslationConfig, TranslationFacts]):
    """Training of a `models.seq2seq.Seq2Seq`."""

    def metrics(self, preprocessing: Preprocessing[TranslationFacts]) -> tuple[Metric, ...]:
        """Return the loss (nats per token), perplexity, accuracy and BLEU."""
        return METRICS

    def build_model(
        self,
        config: TranslationConfig,
        preprocessing: Preprocessing[TranslationFacts],
        token_counts: np.ndarray,
    ) -> keras.Model:
        """Return a `models.seq2seq.Seq2Seq`."""
        from models.seq2seq import Seq2Seq

        built = Seq2Seq(
            config.model,
            source_vocabulary_size=len(preprocessing.vocabulary),
            target_vocabulary_size=len(target_vocabulary(preprocessing, config)),
            shared=config.text.shared,
        )
        built.build()
        return built

    def embedding(self, model: keras.Model) -> keras.layers.Embedding:
        """Return the source embedding."""
        return model.source_embedding

    def encoder(self, model: keras.Model) -> RecurrentStack:
        """Return the encoder."""
        stack: RecurrentStack = model.encoder
        return stack

    def inspection(
        self, model: keras.Model, preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig
    ) -> Inspection[TranslationConfig, TranslationFacts]:
        """Return how translators are looked into."""
        from app.tasks.translation.inspection import TranslationInspection

        return TranslationInspection(model, preprocessing, config)

    def named_axes(
        self, model: keras.Model, preprocessing: Preprocessing[TranslationFacts], config: TranslationConfig
    ) -> Iterator[NamedAxis]:
        """Yield those of both embeddings, and of the head."""
        kind, target = ("tokens", target_vocabulary(preprocessing, config))
        if not config.text.shared:
            kind = "target tokens"
            yield NamedAxis(model.source_embedding.embeddings, 0, "source tokens", preprocessing.vocabulary)
        yield NamedAxis(model.target_embedding.embeddings, 0, kind, target)
        yield NamedAxis(model.bias, 0, kind, target)
        if model.head is not None:
            yield from head_axes(model.head, kind, target)

    def register_model(self) -> None:
        """Import `models.seq2seq`."""
        importlib.import_module("models.seq2seq")

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Compute the mean cross-entropy over the target tokens, the end tokens among them."""
        import tensorflow as tf

        from models.divergences import Scores

        logits, real = _run_decoder(model, batch, training=True)
        nats, correct, tokens = _score_logits(logits, real, batch, label_smoothing)
        tokens = tf.reduce_sum(tokens)
        loss = tf.reduce_sum(nats) / tokens
        return Losses(loss, tf.reduce_sum(correct), tokens, Scores(logits, real))

    def counts(self, batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Return the number of target tokens, the end tokens among them."""
        import tensorflow as tf

        return [tf.cast(tf.reduce_sum(batch["lengths"]), tf.float32)]

    def evaluator(
        self,
        model: keras.Model,
        batches: Batches,
        preprocessing: Preprocessing[TranslationFacts],
        config: TranslationConfig,
    ) -> Callable[[], dict[str, float]]:
        """Return a function that computes the metrics of a split, BLEU from greedy translations."""
        import tensorflow as tf

        from app.tasks.translation.translator import Translator

        translator = Translator(model, preprocessing, config)

        def step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            nats, correct, tokens = score_pairs(model, batch)
            ids, lengths, _ = translator.search(batch["source"], batch["source_lengths"], width=1)
            return {
                "nats": tf.reduce_sum(nats),
                "correct": tf.reduce_sum(correct),
                "tokens": tf.reduce_sum(tokens),
                "predicted": translator.decode(ids[:, 0], lengths[:, 0]),
                "references": translator.decode(batch["following"], batch["lengths"] - 1),
            }

        def of_split(_: Sequence[Arrays], outputs: Sequence[Arrays]) -> dict[str, float]:
            nats, correct, tokens = (
                sum(float(o[name]) for o in outputs) for name in ("nats", "correct", "tokens")
            )
            predicted, references = (
                [text.decode() for o in outputs for text in o[name]] for name in ("predicted", "references")
            )
            score = bleu(predicted, references, preprocessing.facts.bleu_tokenizer)[0]
            return {**token_scores(nats, correct, tokens), "bleu": score}

        return evaluated(step, _Subset(batches), of_split)


class _Subset:
    """Batches of which only some are used in evaluation."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.batch = batches.batch
        self.epoch = batches.epoch

    def whole(self) -> Sequence[Any]:
        """Return evenly spaced batches, of short examples and of long ones."""
        entries = self.batches.whole()
        examples = sum(len(entry) for entry in entries)
        return entries[:: max(round(examples / MOST_TRANSLATED), 1)]


def score_pairs(model: keras.Model, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Compute the loss of target texts, given their source texts.

    Returns:
        summed loss in nats, number of correct tokens, and number of tokens of each pair: float [B] each.
    """
    return _score_logits(*_run_decoder(model, batch, training=False), batch)


def _run_decoder(
    model: keras.Model, batch: Mapping[str, tf.Tensor], *, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the logits of each target token, float [B, T, V], and which are real, bool [B, T]."""
    import tensorflow as tf

    logits = model(batch["source"], batch["source_lengths"], batch["before"], training=training)
    return logits, tf.sequence_mask(batch["lengths"], tf.shape(batch["following"])[1])


def _score_logits(
    logits: tf.Tensor, real: tf.Tensor, batch: Mapping[str, tf.Tensor], label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    import tensorflow as tf

    from models.losses import number_correct, token_cross_entropy
    from models.text.tokens import UNKNOWN_ID

    targets = batch["following"]
    nats = tf.reduce_sum(token_cross_entropy(logits, targets, real, label_smoothing), axis=1)
    correct = number_correct(logits, targets, real, axis=1, never=UNKNOWN_ID)
    return nats, correct, tf.cast(batch["lengths"], tf.float32)
