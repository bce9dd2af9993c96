"""The functions of a tagger's SavedModel."""

from __future__ import annotations

from functools import partial

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.tasks.monitoring import COUNTS, counts_signature
from app.tasks.signature import Signature, signature
from app.tasks.states import shown_units
from app.tasks.tagging.config import TaggingConfig
from app.tasks.tagging.examples import word_encoder
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.training import ENCODED, run_tagger, tokenizer_of
from models.text.locate import Located, locate

NO_TAG = -1


def signatures(
    module: tf.Module, model: keras.Model, preprocessing: Preprocessing[TaggingFacts], config: TaggingConfig
) -> dict[str, Signature]:
    """Return `serving_default`, `tokens`, `score`, `counts`, and `states` of a model with recurrent layers.

    `serving_default`: `text` string [B] → `tokens`, `tags` string [B, T], `start`, `end` int32 [B, T] in
    characters, `length` int32 [B]; with labels `label` string [B] and `score` float [B].

    `tokens`: `tokens` string [B, T], empty strings after the end of a row → `tags` string [B, T], `length`
    int32 [B]; with labels as above.

    `score`: `tokens`, `tags` string [B, T] → `loss` float [B], the sum over the tokens of a row in nats;
    `scored` int32 [B], the number of these tokens. Both are 0 for a row with a tag that the model does not
    know.

    `states`: see `app.tasks.states`; tokens are those of `serving_default`.
    """
    encoder = module.encoder = word_encoder(preprocessing, config)
    tags = list(preprocessing.vocabularies["tags"])
    tag_names = tf.constant(tags)
    is_learned = tokenizer_of(model) == "learned"
    units = shown_units(model.recurrent, model.head)
    label_names = tf.constant(list(preprocessing.labels)) if preprocessing.labels else None
    table = module.tag_table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(tags), tf.range(len(tags), dtype=tf.int64)),
        default_value=NO_TAG,
    )

    def tagged(tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        arrays = encoder(tokens)
        outputs = run_tagger(model, arrays, training=False)
        ids = model.decode(outputs, arrays["lengths"])
        length = tf.cast(tokens.row_lengths(), tf.int32)
        real = tf.sequence_mask(length, tf.shape(ids)[1])
        found = {"tags": tf.where(real, tf.gather(tag_names, ids), ""), "length": length}
        if label_names is not None:
            p = tf.nn.softmax(tf.cast(outputs["label_logits"], tf.float32))
            found["label"] = tf.gather(label_names, tf.argmax(p, axis=-1))
            found["score"] = tf.reduce_max(p, axis=-1)
        return found

    def located_in(text: tf.Tensor) -> Located:
        if is_learned:
            found: Located = model.tokenizer.locate(text)
            return found
        return locate(text, rules=preprocessing.facts.word_rules)

    def as_columns(located: Located, like: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(like, tf.int64)[:2]
        return {
            "tokens": located.tokens.to_tensor("", shape=shape),
            "start": located.start.to_tensor(0, shape=shape),
            "end": located.end.to_tensor(0, shape=shape),
        }

    def serving_default(text: tf.Tensor) -> dict[str, tf.Tensor]:
        located = located_in(text)
        found = tagged(located.tokens)
        return {**found, **as_columns(located, found["tags"])}

    def states(text: tf.Tensor) -> dict[str, tf.Tensor]:
        located = located_in(text)
        arrays = encoder(located.tokens)
        found = model.hidden_states(list(units.values()), *(arrays[name] for name in ENCODED))
        return {
            **as_columns(located, found),
            "length": tf.cast(located.tokens.row_lengths(), tf.int32),
            "states": found,
            "units": tf.tile([list(units)], [tf.size(text), 1]),
        }

    def given_tokens(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        return tagged(_ragged(tokens))

    def score(tokens: tf.Tensor, tags: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = _ragged(tokens)
        length = tf.cast(rows.row_lengths(), tf.int32)
        arrays = encoder(rows)
        outputs = run_tagger(model, arrays, training=False)
        width = tf.shape(arrays["token_ids"])[1]
        tags = tf.pad(tags, [[0, 0], [0, tf.maximum(width - tf.shape(tags)[1], 0)]])[:, :width]
        ids = tf.cast(table.lookup(tags), tf.int32)
        unknown = tf.reduce_any(tf.equal(ids, NO_TAG) & tf.sequence_mask(length, width), axis=1)
        scored = tf.where(unknown, 0, length)
        losses = model.tag_losses(outputs, tf.maximum(ids, 0), arrays["lengths"])
        return {"loss": tf.where(scored > 0, losses, 0.0), "scored": scored}

    def word_ids(text: tf.Tensor) -> tf.RaggedTensor:
        tokens = located_in(text).tokens
        return tf.RaggedTensor.from_tensor(encoder(tokens)["token_ids"], lengths=tokens.row_lengths())

    text = tf.TensorSpec([None], tf.string, "text")
    tokens = tf.TensorSpec([None, None], tf.string, "tokens")
    own_cudnn_layers = model.tokenizer.recurrent.cudnn_layers() if is_learned else 0
    located_rows = partial(signature, batched=True, own_cudnn_layers=own_cudnn_layers)
    found = {
        "serving_default": located_rows(serving_default, text),
        "tokens": signature(given_tokens, tokens),
        "score": signature(score, tokens, tf.TensorSpec([None, None], tf.string, "tags")),
        COUNTS: counts_signature(word_ids, own_cudnn_layers=own_cudnn_layers),
    }
    if units:
        found["states"] = located_rows(states, text)
    return found


def _ragged(tokens: tf.Tensor) -> tf.RaggedTensor:
    """Return rows without the empty strings after their end: string [B, T] → string [B, (tokens)]."""
    places = tf.range(1, tf.shape(tokens)[1] + 1)
    lengths = tf.reduce_max(tf.where(tf.not_equal(tokens, ""), places, 0), axis=1)
    lengths = tf.maximum(lengths, 0)  # for T = 0
    return tf.RaggedTensor.from_tensor(tokens, lengths=lengths)
