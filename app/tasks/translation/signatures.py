"""The functions of a translator's SavedModel."""

from __future__ import annotations

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.tasks.monitoring import COUNTS, text_counts
from app.tasks.signature import Signature, signature
from app.tasks.translation.bounds import BOUNDS
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.training import score_pairs
from app.tasks.translation.translator import Translator


def signatures(
    module: tf.Module,
    model: keras.Model,
    preprocessing: Preprocessing[TranslationFacts],
    config: TranslationConfig,
) -> dict[str, Signature]:
    """Return `serving_default`, `search`, `score`, `counts`, and with attention `attention`.

    `serving_default`: `text` string [B] → `text` string [B], `score` float [B].

    `search`: the same with the options of beam search, scalars that apply to all rows: `width` int32,
    `length_penalty` and `coverage_penalty` float.

    `score`: `text`, `target` string [B] → `loss` float [B] in nats, the sum over the target tokens and the
    end token; `tokens` int32 [B], their number; `correct` int32 [B], how many have the highest probability.

    `attention`: `text` string [B] → `source` string [B, S], `source_length` int32 [B], `target` string
    [B, T], `target_length` int32 [B], `attention` float [B, T, S], `text` string [B].
    """
    translator = module.translator = Translator(model, preprocessing, config)
    decoding = config.decoding

    def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return translator(text, decoding.beam, decoding.length_penalty, decoding.coverage_penalty)

    def search(
        text: tf.Tensor, width: tf.Tensor, length_penalty: tf.Tensor, coverage_penalty: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        return translator(text, width, length_penalty, coverage_penalty)

    def score(text: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        nats, correct, tokens = score_pairs(model, translator.pair(text, target))
        return {"loss": nats, "correct": tf.cast(correct, tf.int32), "tokens": tf.cast(tokens, tf.int32)}

    def attention(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return translator.attention(text, decoding.beam, decoding.length_penalty, decoding.coverage_penalty)

    text = tf.TensorSpec([None], tf.string, "text")
    options = [
        tf.TensorSpec([], tf.int32, "width"),
        tf.TensorSpec([], tf.float32, "length_penalty"),
        tf.TensorSpec([], tf.float32, "coverage_penalty"),
    ]
    found = {
        "serving_default": signature(serving_default, text, batched=True),
        "search": signature(search, text, *options, bounds=BOUNDS, limited=("width",)),
        "score": signature(
            score,
            text,
            tf.TensorSpec([None], tf.string, "target"),
            batched=True,
            own_cudnn_layers=model.decoder_cudnn_layers(),
        ),
        COUNTS: text_counts(translator.source),
    }
    if config.model.attention != "none":
        found["attention"] = signature(attention, text)
    return found
