"""The functions of a language model's SavedModel: strings in, strings out, the whole loop in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.bounds import BEAM_WIDTH, LARGEST_INTEGER, Bounds
from app.tasks.generation.bounds import OPTIONS, STATE
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts
from app.tasks.monitoring import COUNTS, text_counts
from app.tasks.signature import Signature, signature
from app.tasks.tokenizing import tokenizer_options
from models.decoding.beam import beam_search
from models.decoding.sampling import sample
from models.decoding.truncate import truncate_at
from models.text.preprocessor import Preprocessor
from models.text.prompt import continuation, read_prompt
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, PADDING_ID, UNKNOWN_ID

NO_END = -1
"""The id of the end token if texts have none."""


class GenerationSignatures(tf.Module):
    """The signatures of a language model, and their lookup tables."""

    def __init__(
        self, model: keras.Model, preprocessing: Preprocessing[GenerationFacts], config: GenerationConfig
    ) -> None:
        """Create the lookup tables.

        Args:
            model: a `models.language_model.LanguageModel`.
            preprocessing: of the run.
            config: of the run.
        """
        super().__init__(name="generation")
        # A SavedModel holds the variables of the model, not the Keras model itself.
        self._model: Callable[[], keras.Model] = lambda: model
        self._options = tokenizer_options(config, preprocessing.facts, joins=True) | {"lines": True}
        self.preprocessor = Preprocessor(preprocessing.vocabulary, **self._options)
        self._tokens = list(preprocessing.vocabulary)
        self._forbidden = [PADDING_ID, UNKNOWN_ID]
        self._end_id = END_ID
        if not preprocessing.facts.documents_end:
            self._forbidden.append(END_ID)
            self._end_id = NO_END
        self._labels = list(preprocessing.labels)
        if self._labels:
            self.label_table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(self._labels), tf.range(len(self._labels), dtype=tf.int64)
                ),
                default_value=len(self._labels),
            )

    def all(self) -> dict[str, Signature]:
        """Return all signatures by name.

        `serving_default` samples texts; `generate` has all sampling options; `beam` searches.
        `score` computes the loss of texts; `score_pieces` that of documents piece by piece; `counts` counts
        tokens.
        `begin` and `resume` sample texts piece by piece. The caller keeps the state between two pieces: all
        outputs of `begin`. `ids` of texts of different lengths share a call: they are padded on the left.
        """
        prompt = _rows("prompt", tf.string)
        length, seed = _rows("length", tf.int32), _rows("seed", tf.int32)
        text = _rows("text", tf.string)
        drawing = (_rows("temperature", tf.float32), _rows("top_k", tf.int32), _rows("top_p", tf.float32))
        penalty = _rows("repetition_penalty", tf.float32)
        label = (_rows("label", tf.string),) if self._labels else ()
        stop = _rows("stop", tf.string)
        width = tf.TensorSpec([], tf.int32, "width")
        length_penalty = tf.TensorSpec([], tf.float32, "length_penalty")
        model = self._model()
        cells = [
            tf.TensorSpec([None, value.shape[1]], tf.float32, f"state_{i}")
            for i, value in enumerate(tf.nest.flatten(model.initial_state(1)))
        ]
        logits = tf.TensorSpec([None, len(self._tokens)], tf.float32, "logits")
        ids, emitted = tf.TensorSpec([None, None], tf.int32, "ids"), _rows("emitted", tf.int32)
        pieces = (_rows("begins", tf.bool), _rows("ends", tf.bool), _rows("previous", tf.int32))

        token = Bounds(minimum=0, maximum=len(self._tokens) - 1, default=0)
        bounds = {
            **OPTIONS,
            "width": BEAM_WIDTH,
            **dict.fromkeys(("ids", "previous"), token),
            "emitted": Bounds(minimum=0, maximum=LARGEST_INTEGER, default=0),
            **dict.fromkeys(("logits", *(spec.name for spec in cells)), STATE),
        }

        def of(function: Any, *specs: tf.TensorSpec, **facts: Any) -> Signature:
            return signature(_named(function, specs), *specs, bounds=bounds, **facts)

        long = ("length",)
        return {
            "serving_default": of(
                self._serving_default, prompt, length, *drawing, seed, batched=True, limited=long
            ),
            "generate": of(
                self._generate,
                *(prompt, length, *drawing, penalty, seed, stop, *label),
                shared=("stop",),
                limited=long,
            ),
            "beam": of(
                self._beam,
                *(prompt, length, width, length_penalty, stop, *label),
                shared=("stop",),
                limited=("length", "width"),
            ),
            "score": of(self._score, text, batched=True),
            COUNTS: text_counts(self.preprocessor),
            "score_pieces": of(self._score_pieces, text, *pieces, *label, *cells, follows="begin"),
            "begin": of(self._begin, prompt, *label, batched=True),
            "resume": of(
                self._resume,
                *(prompt, ids, emitted, logits, length, *drawing, penalty, seed, *label, *cells),
                limited=long,
                reads_sequences=False,
                follows="begin",
            ),
        }

    def _serving_default(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._generate(a | {"repetition_penalty": 1.0, "stop": tf.zeros([0], tf.string)})

    def _generate(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state, logits, labels = self._read_prompt(a["prompt"], a.get("label"))
        ids, lengths, log_probability, _, _ = self._sample(a, state, logits, labels)
        text = self._text(ids, lengths, a["prompt"])
        return {"text": truncate_at(text, a["stop"]), "log_probability": log_probability}

    def _sample(
        self, a: dict[str, tf.Tensor], state: Any, logits: tf.Tensor, labels: Any, **emitted: tf.Tensor
    ) -> tuple[Any, ...]:
        return sample(
            lambda ids, state: self._model().step(ids, state, labels),
            state,
            logits,
            length=a["length"],
            temperature=a["temperature"],
            top_k=a["top_k"],
            top_p=a["top_p"],
            seed=a["seed"],
            repetition_penalty=a["repetition_penalty"],
            end_id=self._end_id,
            forbidden=self._forbidden,
            **emitted,
        )

    def _beam(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state, logits, labels = self._read_prompt(a["prompt"], a.get("label"))
        width = a["width"]
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
        text = self._text(ids[:, 0], lengths[:, 0], a["prompt"])
        return {"text": truncate_at(text, a["stop"]), "score": scores[:, 0]}

    def _score(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        pieces = tokenize(a["text"], **self._options)
        lengths = tf.cast(pieces.row_lengths(), tf.int32)
        nats, tokens = self._model().score(self.preprocessor.ids(pieces).to_tensor(PADDING_ID), lengths)
        return {"loss": nats / tf.maximum(tf.cast(tokens, tf.float32), 1.0), "tokens": tokens}

    def _score_pieces(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Compute the loss of a piece of each document, from the state after the piece before."""
        model = self._model()
        ends = tf.cast(a["ends"], tf.int64)
        pieces = tokenize(a["text"], **self._options)
        end_tokens = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(ends)], END_ID), ends)
        ids = tf.concat([self.preprocessor.ids(pieces), end_tokens], axis=1)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        continued = tf.logical_not(a["begins"])[:, tf.newaxis]
        state = tf.nest.map_structure(lambda value: tf.where(continued, value, 0.0), self._state(a))
        previous = tf.where(a["begins"], END_ID, a["previous"])
        labels = self._label_ids(a["label"]) if self._labels else None
        nats, correct, previous, state = model.score_piece(
            ids.to_tensor(PADDING_ID), lengths, previous, state, labels
        )
        return {
            "nats": nats,
            "correct": correct,
            "tokens": lengths,
            "previous": previous,
            **_numbered(state),
        }

    def _state(self, a: dict[str, tf.Tensor]) -> Any:
        structure = self._model().initial_state(1)
        numbers = range(len(tf.nest.flatten(structure)))
        return tf.nest.pack_sequence_as(structure, [a[f"state_{i}"] for i in numbers])

    def _begin(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        state, logits, _ = self._read_prompt(a["prompt"], a.get("label"))
        return {"logits": logits, "emitted": tf.zeros_like(a["prompt"], tf.int32), **_numbered(state)}

    def _resume(self, a: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        labels = self._label_ids(a["label"]) if self._labels else None
        width = tf.shape(a["ids"])[1]
        counts = tf.minimum(a["emitted"], width)
        ids, lengths, log_probability, state, logits = self._sample(
            a, self._state(a), a["logits"], labels, emitted=a["ids"], counts=counts
        )
        whole = tf.concat([a["ids"], ids], axis=1)
        emitted = counts + lengths
        return {
            "ids": _shifted(whole, lengths - tf.shape(ids)[1]),
            "emitted": emitted,
            "text": self._text(_shifted(whole, width - counts), emitted, a["prompt"]),
            "ended": lengths < a["length"],
            "log_probability": log_probability,
            "logits": logits,
            **_numbered(state),
        }

    def _label_ids(self, label: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.label_table.lookup(label), tf.int32)

    def _read_prompt(self, prompt: tf.Tensor, label: tf.Tensor | None) -> tuple[Any, tf.Tensor, Any]:
        """Return the state and the logits after each prompt, and the ids of the labels."""
        pieces = read_prompt(prompt, self.preprocessor).pieces
        dense = tf.pad(
            self.preprocessor.ids(pieces).to_tensor(PADDING_ID), [[0, 0], [1, 0]], constant_values=END_ID
        )
        labels = None
        if self._labels:
            none = tf.fill([tf.shape(prompt)[0]], len(self._labels))
            labels = none if label is None else self._label_ids(label)
        lengths = tf.cast(pieces.row_lengths(), tf.int32) + 1
        logits, state = self._model().prefill(dense, lengths, labels=labels)
        return state, logits, labels

    def _text(self, ids: tf.Tensor, lengths: tf.Tensor, prompt: tf.Tensor) -> tf.Tensor:
        """Return token ids as text that continues a prompt: int32 [B, T] → string [B]."""
        tokens = tf.gather(tf.constant(self._tokens, tf.string), ids)
        pieces = tf.RaggedTensor.from_tensor(tokens, lengths=tf.cast(lengths, tf.int64))
        return continuation(pieces, read_prompt(prompt, self.preprocessor), self.preprocessor)


def _shifted(ids: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
    """Move the ids of each row to the left, or to the right by a negative number: int32 [B, T], int32 [B].

    What leaves the row at one end is lost, and 0 comes in at the other.
    """
    width = tf.shape(ids)[1]
    places = tf.range(width) + by[:, tf.newaxis]
    return tf.where(
        (places >= 0) & (places < width),
        tf.gather(ids, tf.clip_by_value(places, 0, tf.maximum(width - 1, 0)), batch_dims=1),
        0,
    )


def _numbered(state: Any) -> dict[str, tf.Tensor]:
    return {f"state_{i}": value for i, value in enumerate(tf.nest.flatten(state))}


def _named(function: Any, specs: tuple[tf.TensorSpec, ...]) -> Any:
    """Return a function of positional arguments; the given one takes them by the names of their specs."""

    def positional(*values: tf.Tensor) -> Any:
        return function({spec.name: value for spec, value in zip(specs, values, strict=True)})

    return positional


def _rows(name: str, dtype: tf.DType) -> tf.TensorSpec:
    return tf.TensorSpec([None], dtype, name)
