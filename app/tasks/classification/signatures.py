"""The functions of a classifier's SavedModel."""

from __future__ import annotations

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.tasks.classification.branches import BRANCHES
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.monitoring import COUNTS, text_counts
from app.tasks.signature import Signature, signature
from app.tasks.states import shown_units
from app.tasks.tokenizing import tokenizer_options
from models.text.positions import positions
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize


def signatures(
    module: tf.Module,
    model: keras.Model,
    preprocessing: Preprocessing[ClassificationFacts],
    config: ClassificationConfig,
) -> dict[str, Signature]:
    """Return `serving_default`, `explain` and `counts`, and of some models `states` and `branches`.

    `serving_default`: `text` string [B] → `label` string [B], `score` float [B], `probabilities` float
    [B, C], `classes` string [B, C]; with a threshold also `known` bool [B], whether the score reaches it.
    With several labels a text: `text` string [B] → `probabilities` float
    [B, C], `thresholds` float [B, C], `chosen` bool [B, C] (probabilities of at least their thresholds),
    `classes` string [B, C].

    `explain`: `text` string [B] → `tokens` string [B, T], `start`, `end` int32 [B, T] in characters,
    `importance` float [B, T], `length` int32 [B], `label` string [B]. With several labels a text, it explains
    the one whose log-odds are highest above those of its threshold: a chosen one, if any is chosen.

    `states`, of a model with recurrent layers: see `app.tasks.states`.

    `branches`, of a model with n-grams: `text` string [B] → `recurrent`, `ngrams` float [B, C], probabilities
    of either branch alone. With several labels a text, also `recurrent_chosen`, `ngrams_chosen` bool [B, C],
    by own thresholds.
    """
    options = tokenizer_options(config, preprocessing.facts)
    preprocessor = module.preprocessor = Preprocessor(preprocessing.vocabulary, **options)
    labels = list(preprocessing.labels)
    several = preprocessing.facts.several_labels
    units = shown_units(model.recurrent, model.head)

    def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant(labels)  # inside the graph: a captured tensor would be an argument of each call
        probabilities = tf.nn.softmax(tf.cast(model(*preprocessor(text), training=False), tf.float32))
        score = tf.reduce_max(probabilities, axis=-1)
        found = {
            "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
            "score": score,
            "probabilities": probabilities,
            "classes": tf.tile([labels], [tf.size(text), 1]),
        }
        if model.rejects:
            found["known"] = score >= tf.convert_to_tensor(model.threshold)
        return found

    def chosen_labels(text: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.sigmoid(tf.cast(model(*preprocessor(text), training=False), tf.float32))
        thresholds = tf.convert_to_tensor(model.thresholds)
        rows = [tf.size(text), 1]
        return {
            "probabilities": probabilities,
            "thresholds": tf.tile(thresholds[tf.newaxis], rows),
            "chosen": probabilities >= thresholds,
            "classes": tf.tile([labels], rows),
        }

    def tokens_of(text: tf.Tensor, pieces: tf.RaggedTensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.stack([-1, width])
        start, end = positions(text, **preprocessor.options)
        return {
            "tokens": pieces.to_tensor("", shape=shape),
            "start": start.to_tensor(0, shape=shape),
            "end": end.to_tensor(0, shape=shape),
            "length": tf.cast(pieces.row_lengths(), tf.int32),
        }

    def explain(text: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = tokenize(text, **preprocessor.options)
        token_ids, lengths = preprocessor.look_up(pieces)
        logits = model(token_ids, lengths, training=False)
        merits = model.margins(logits) if several else logits
        best = tf.argmax(merits, axis=-1, output_type=tf.int32)
        importance = model.importances(token_ids, lengths, best)
        width = tf.shape(token_ids)[1]
        found = tokens_of(text, pieces, width)
        real = tf.sequence_mask(found["length"], width)
        return {
            **found,
            "importance": tf.where(real, importance, 0.0),
            "label": tf.gather(tf.constant(labels), best),
        }

    def states(text: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = tokenize(text, **preprocessor.options)
        token_ids, lengths = preprocessor.look_up(pieces)
        return {
            **tokens_of(text, pieces, tf.shape(token_ids)[1]),
            "states": model.hidden_states(list(units.values()), token_ids, lengths),
            "units": tf.tile([list(units)], [tf.size(text), 1]),
        }

    def branches(text: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = dict(zip(BRANCHES, model.branches(*preprocessor(text)), strict=True))
        if not several:
            return {name: tf.nn.softmax(own) for name, own in logits.items()}
        found = {name: tf.sigmoid(own) for name, own in logits.items()}
        thresholds = tf.convert_to_tensor(model.branch_thresholds)
        chosen = {f"{name}_chosen": found[name] >= thresholds[i] for i, name in enumerate(BRANCHES)}
        return found | chosen

    text = tf.TensorSpec([None], tf.string, "text")
    found = {
        "serving_default": signature(chosen_labels if several else serving_default, text, batched=True),
        "explain": signature(explain, text, batched=True),
        COUNTS: text_counts(preprocessor),
    }
    if units:
        found["states"] = signature(states, text, batched=True)
    if model.ngrams is not None:
        found["branches"] = signature(branches, text, batched=True)
    return found
