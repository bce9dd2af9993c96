"""The functions of a classifier's SavedModel."""

from __future__ import annotations

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Facts, Preprocessing
from app.tasks.classification.config import ClassificationConfig
from app.tasks.signature import Signature, signature
from app.tasks.tokenizing import tokenizer_options
from models.text.positions import positions
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize


def signatures(
    module: tf.Module, model: keras.Model, preprocessing: Preprocessing[Facts], config: ClassificationConfig
) -> dict[str, Signature]:
    """Return `serving_default` and `explain`.

    `serving_default`: `text` string [B] → `label` string [B], `score` float [B], `probabilities` float
    [B, C], `classes` string [B, C].

    `explain`: `text` string [B] → `tokens` string [B, T], `start`, `end` int32 [B, T] in characters,
    `importance` float [B, T], `length` int32 [B], `label` string [B].
    """
    options = tokenizer_options(config, preprocessing.facts)
    preprocessor = module.preprocessor = Preprocessor(preprocessing.vocabulary, **options)
    labels = list(preprocessing.labels)

    def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant(labels)  # inside the graph: a captured tensor would be an argument of each call
        probabilities = tf.nn.softmax(tf.cast(model(*preprocessor(text), training=False), tf.float32))
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "classes": tf.tile([labels], [tf.size(text), 1]),
        }

    def explain(text: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = tokenize(text, **preprocessor.options)
        token_ids, lengths = preprocessor.look_up(pieces)
        best = tf.argmax(model(token_ids, lengths, training=False), axis=-1, output_type=tf.int32)
        importance = model.importances(token_ids, lengths, best)
        length = tf.cast(pieces.row_lengths(), tf.int32)
        shape = tf.stack([-1, tf.shape(token_ids)[1]])
        start, end = positions(text, **preprocessor.options)
        return {
            "tokens": pieces.to_tensor("", shape=shape),
            "start": start.to_tensor(0, shape=shape),
            "end": end.to_tensor(0, shape=shape),
            "importance": tf.where(tf.sequence_mask(length, shape[1]), importance, 0.0),
            "length": length,
            "label": tf.gather(tf.constant(labels), best),
        }

    text = tf.TensorSpec([None], tf.string, "text")
    return {
        "serving_default": signature(serving_default, text, batched=True),
        "explain": signature(explain, text, batched=True),
    }
