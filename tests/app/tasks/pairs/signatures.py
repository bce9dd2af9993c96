"""The function of the SavedModel of a classifier of sentence pairs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Facts, Preprocessing
from app.tasks.signature import Signature, signature
from app.tasks.tokenizing import tokenizer_options
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import END_ID


def signatures(
    module: tf.Module, model: keras.Model, preprocessing: Preprocessing[Facts], config: Any
) -> dict[str, Signature]:
    """Return `serving_default`.

    It takes `first` and `second`, string [B], and returns `label` string [B], `score` float [B],
    `probabilities` float [B, C] and `classes` string [B, C].
    """
    options = tokenizer_options(config, preprocessing.facts)
    preprocessor = module.preprocessor = Preprocessor(preprocessing.vocabulary, **options)
    labels = list(preprocessing.labels)

    def serving_default(first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
        separators = tf.fill([tf.size(first), 1], END_ID)
        before, after = (preprocessor.ids(tokenize(text, **options)) for text in (first, second))
        joined = tf.concat([before, separators, after], axis=1)
        lengths = tf.cast(joined.row_lengths(), tf.int32)
        probabilities = tf.nn.softmax(model(joined.to_tensor(0), lengths, training=False))
        return {
            "label": tf.gather(tf.constant(labels), tf.argmax(probabilities, axis=-1)),
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "classes": tf.tile([labels], [tf.size(first), 1]),
        }

    specs = [tf.TensorSpec([None], tf.string, name) for name in ("first", "second")]
    return {"serving_default": signature(serving_default, *specs, batched=True)}
