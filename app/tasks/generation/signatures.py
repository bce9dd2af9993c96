"""The functions of a language model's SavedModel: strings in, strings out, the whole loop in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from app.config import Config
from app.tasks.base import Vocabularies
from app.tasks.generation import ENDS
from app.tasks.tokenizing import cutting_options
from models.decoding.beam import beam_search
from models.decoding.sampling import sample
from models.decoding.truncate import truncate_at
from models.text.detokenize import detokenize
from models.text.preprocessor import Preprocessor
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, PADDING_ID, UNKNOWN_ID

NO_END = -1
"""The id of an end, where texts have none."""


class GenerationSignatures(tf.Module):
    """The signatures of a language model, and the tables that they read."""

    def __init__(self, model: keras.Model, vocabularies: Vocabularies, config: Config) -> None:
        """Prepares the tables."""
        super().__init__(name="generation")
        # A SavedModel shall hold the model's variables, not the Keras model itself.
        self._model: Callable[[], keras.Model] = lambda: model
        self._kind = config.text.tokens
        self._options = cutting_options(config, vocabularies) | {"lines": True}
        self.preprocessor = Preprocessor(vocabularies["vocabulary"], **self._options)
        self._tokens = list(vocabularies["vocabulary"])
        self._forbidden = [PADDING_ID, UNKNOWN_ID]
        self._end_id = END_ID
        if vocabularies["ends"] != [ENDS]:
            self._forbidden.append(END_ID)
            self._end_id = NO_END
        self._labels = list(vocabularies.get("labels", ()))
        if self._labels:
            self.label_table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(self._labels), tf.range(len(self._labels), dtype=tf.int64)
                ),
                default_value=len(self._labels),
            )

    def all(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """By name."""

        def of_rows(name: str, dtype: tf.DType) -> tf.TensorSpec:
            return tf.TensorSpec([None], dtype, name)

        prompt, length, seed = (
            of_rows("prompt", tf.string),
            of_rows("length", tf.int32),
            of_rows("seed", tf.int32),
        )
        drawing = (
            of_rows("temperature", tf.float32),
            of_rows("top_k", tf.int32),
            of_rows("top_p", tf.float32),
        )
        penalty = of_rows("repetition_penalty", tf.float32)
        label = (of_rows("label", tf.string),) if self._labels else ()
        stop = tf.TensorSpec([None], tf.string, "stop")
        width = tf.TensorSpec([], tf.int32, "width")
        length_penalty = tf.TensorSpec([], tf.float32, "length_penalty")
        model = self._model()
        cells = [
            tf.TensorSpec([None, model.settings.units], tf.float32, f"state_{i}")
            for i, _ in enumerate(tf.nest.flatten(model.initial_state(1)))
        ]
        logits = tf.TensorSpec([None, model.vocabulary_size], tf.float32, "logits")
        ids = tf.TensorSpec([None, None], tf.int32, "ids")
        specs: dict[str, tuple[Any, tuple[tf.TensorSpec, ...]]] = {
            "serving_default": (self._serving_default, (prompt, length, *drawing, seed)),
            "generate": (self._generate, (prompt, length, *drawing, penalty, seed, stop, *label)),
            "beam": (self._beam, (prompt, length, width, length_penalty, stop, *label)),
            "score": (self._score, (of_rows("text", tf.string),)),
            "begin": (self._begin, (prompt, *label)),
            "resume": (self._resume, (prompt, ids, logits, length, *drawing, penalty, seed, *label, *cells)),
        }
        return {
            name: tf.function(_named(function, spec), input_signature=spec, autograph=False)
            for name, (function, spec) in specs.items()
        }

    def _serving_default(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._generate(a | {"repetition_penalty": 1.0, "stop": tf.zeros([0], tf.string)})

    def _generate(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state, logits, labels = self._read(a["prompt"], a.get("label"))
        ids, lengths, log_probability, _, _ = self._sample(a, state, logits, labels, None)
        text = self._write(ids, lengths, a["prompt"])
        return {"text": truncate_at(text, a["stop"]), "log_probability": log_probability}

    def _sample(
        self, a: dict[str, tf.Tensor], state: Any, logits: tf.Tensor, labels: Any, emitted: tf.Tensor | None
    ) -> tuple[Any, ...]:
        return sample(
            lambda ids, state: self._model().step(ids, state, labels),
            state,
            logits,
            length=tf.maximum(a["length"], 0),
            temperature=a["temperature"],
            top_k=a["top_k"],
            top_p=a["top_p"],
            seed=a["seed"],
            repetition_penalty=a["repetition_penalty"],
            end_id=self._end_id,
            forbidden=self._forbidden,
            emitted=emitted,
        )

    def _beam(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state, logits, labels = self._read(a["prompt"], a.get("label"))
        width = tf.maximum(a["width"], 1)
        labels = None if labels is None else tf.repeat(labels, width)
        ids, lengths, scores = beam_search(
            lambda ids, state: self._model().step(ids, state, labels),
            state,
            logits,
            end_id=self._end_id,
            max_length=a["length"],
            width=width,
            length_penalty=a["length_penalty"],
            forbidden=self._forbidden,
        )
        text = self._write(ids[:, 0], lengths[:, 0], a["prompt"])
        return {"text": truncate_at(text, a["stop"]), "score": scores[:, 0]}

    def _score(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        pieces = tokenize(a["text"], **self._options)
        lengths = tf.cast(pieces.row_lengths(), tf.int32)
        nats, tokens = self._model().score(self.preprocessor.ids(pieces).to_tensor(PADDING_ID), lengths)
        return {"loss": nats / tf.maximum(tf.cast(tokens, tf.float32), 1.0), "tokens": tokens}

    def _begin(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state, logits, _ = self._read(a["prompt"], a.get("label"))
        return {"logits": logits, **_numbered(state)}

    def _resume(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        model = self._model()
        structure = model.initial_state(1)
        numbers = range(len(tf.nest.flatten(structure)))
        state = tf.nest.pack_sequence_as(structure, [a[f"state_{i}"] for i in numbers])
        labels = self._label_ids(a["label"]) if self._labels else None
        ids, lengths, log_probability, state, logits = self._sample(a, state, a["logits"], labels, a["ids"])
        whole = tf.concat([a["ids"], ids], axis=1)
        ended = lengths < tf.maximum(a["length"], 0)
        return {
            "ids": whole,
            "text": self._write(whole, tf.shape(a["ids"])[1] + lengths, a["prompt"]),
            "ended": ended,
            "log_probability": log_probability,
            "logits": logits,
            **_numbered(state),
        }

    def _label_ids(self, label: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.label_table.lookup(label), tf.int32)

    def _read(self, prompt: tf.Tensor, label: tf.Tensor | None) -> tuple[Any, tf.Tensor, Any]:
        """State and logits behind each prompt; the ids of the labels."""
        pieces = tokenize(prompt, **self._options)
        dense = tf.pad(
            self.preprocessor.ids(pieces).to_tensor(PADDING_ID), [[0, 0], [1, 0]], constant_values=END_ID
        )
        labels = None
        if self._labels:
            none = tf.fill([tf.shape(prompt)[0]], len(self._labels))
            labels = none if label is None else self._label_ids(label)
        lengths = tf.cast(pieces.row_lengths(), tf.int32) + 1
        logits, state = self._model().read(dense, lengths, labels=labels)
        return state, logits, labels

    def _write(self, ids: tf.Tensor, lengths: tf.Tensor, prompt: tf.Tensor) -> tf.Tensor:
        """The text of token ids, as it goes on behind a prompt: int32 [B, T] → string [B].

        Words bring the space before them along: not at a text's start, nor behind a prompt's own space.
        """
        tokens = tf.gather(tf.constant(self._tokens, tf.string), ids)
        pieces = tf.RaggedTensor.from_tensor(tokens, lengths=tf.cast(lengths, tf.int64))
        text = detokenize(pieces, self._kind)
        if self._kind in ("char", "byte"):
            return text
        spaced = r"(?:\C*\s)?" if self._kind == "word" else ""
        bare = tf.strings.regex_full_match(prompt, spaced)
        return tf.where(bare, tf.strings.regex_replace(text, "^ ", ""), text)


def _numbered(state: Any) -> dict[str, tf.Tensor]:
    return {f"state_{i}": value for i, value in enumerate(tf.nest.flatten(state))}


def _named(function: Any, specs: tuple[tf.TensorSpec, ...]) -> Any:
    """A function of positional arguments from one of a dictionary by the names of their specs."""

    def positional(*values: tf.Tensor) -> Any:
        return function({spec.name: value for spec, value in zip(specs, values, strict=True)})

    return positional
