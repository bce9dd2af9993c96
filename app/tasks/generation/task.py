"""One to many: text from a language model, perhaps of a label; and how likely a given text is."""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.tasks.base import Answers, Losses, Plan, RowBatch, Task, Vocabularies, graph_of, perplexity
from app.tasks.generation import ENDS, GOES_ON
from app.tasks.labels import check_labels, check_labels_known, label_ids, label_names
from data.batching import Feed
from data.encoding import Encoded, Sequences, UniqueTokens
from data.errors import UserError
from data.formats import CONTINUES, Field, read_csv, read_document, read_jsonl, read_tsv
from data.prepared import Dataset, Scan
from data.streams import StreamFeed, documents

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.artifacts.run import Run
    from app.config import Config
    from app.prediction.predictor import Predictor

NO_LABEL_SHARE = 0.1
"""Of the windows in training that are read without their label, so that the model can do without."""
SHOWN_TOKENS, SHOWN_WORDS = 200, 50
SHOWN_TEMPERATURE = 0.8
EXAMPLE_LENGTH = 12
"""Tokens that a model is tried out with."""


class Generation(Task):
    """A language model of characters, bytes, words or subwords."""

    name = "generation"
    formats: Mapping[str, Any] = {
        "txt": read_document,
        "jsonl": read_jsonl,
        "csv": read_csv,
        "tsv": read_tsv,
    }
    metric = "accuracy"
    signature = "score"
    batched = ("serving_default", "score")
    follows: Mapping[str, str] = {"resume": "begin"}
    options = ("stop",)
    validation_names = ("accuracy", "perplexity")
    tokens_to_learn_from = 22_000_000

    def check_config(self, config: Config) -> None:
        """At least one layer, that carries a state, and texts that are read whole."""
        if config.model.layers < 1:
            raise UserError("model.layers = 0: expected at least 1 for generation")
        if config.text.max_length:
            raise UserError(
                f"text.max_length = {config.text.max_length}: expected 0 for generation, which reads texts "
                "whole; training.sequence_length bounds what a step reads"
            )

    def fields(self, config: Config) -> tuple[Field, ...]:
        """The text, whether it goes on with the row before, and a label if one is to be the condition."""
        data = config.data
        fields = (
            Field("text", "text", data.text_column, "--set data.text_column=NAME"),
            Field(CONTINUES, "flag", CONTINUES, "", optional=True),
        )
        if not data.label_column:
            return fields
        return (*fields, Field("label", "label", data.label_column, "--set data.label_column=NAME"))

    def check(self, found: Scan) -> None:
        """There is text, and where there are labels at least two of them."""
        if not found.rows["train"]:
            raise UserError("the data has no text to train on; give a larger file, or a folder with train.*")
        if found.labels():
            check_labels(found)

    def check_known(self, found: Scan, split: str, vocabularies: Vocabularies) -> None:
        """Every label is one of the model's."""
        if "labels" in vocabularies and found.labels():
            check_labels_known(found, split, vocabularies["labels"])

    def plan(self, dataset: Dataset, config: Config, training: Callable[[], Iterator[RowBatch]]) -> Plan:
        """One sequence, `tokens`, with an end behind each document; whether a row goes on; its label."""
        from app.tasks.tokenizing import text_cutter
        from models.text.tokens import END, SEQUENCE_TOKENS

        cutter = text_cutter(
            config, lambda: (batch["text"] for batch in training()), special=SEQUENCE_TOKENS, lines=True
        )
        labels = label_names(dataset)
        one_text = CONTINUES in dataset.columns

        def cut(batch: RowBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            tokens, places, lengths = cutter.cut(batch["text"])
            if not one_text:
                tokens = [*tokens, END]
                places = np.insert(places, np.cumsum(lengths), len(tokens) - 1)
                lengths = lengths + 1
            columns = {CONTINUES: batch.get(CONTINUES, np.zeros(len(lengths), bool))}
            if labels:
                columns["label"] = label_ids(batch, dataset, labels)
            return {"tokens": (tokens, places, lengths)}, columns

        learned = {**cutter.learned, "ends": [GOES_ON if one_text else ENDS]}
        return Plan(cut, {"tokens": "vocabulary"}, {"vocabulary": cutter.rule}, learned)

    def vocabularies(self, encoded: Encoded, dataset: Dataset, config: Config) -> dict[str, list[bytes]]:
        """The tokens; whether documents end; the labels that may be a condition."""
        found = dict(encoded.vocabularies)
        if "label" in dataset.names:
            found["labels"] = label_names(dataset)
        return found

    def feed(self, encoded: Encoded, split: str, vocabularies: Vocabularies, config: Config) -> StreamFeed:
        """Windows of streams that carry their state on."""
        rows = encoded.splits[split]
        continues = rows.columns[CONTINUES]
        return _stream_feed(rows.sequences["tokens"], continues, rows.columns.get("label"), config)

    def build_model(self, config: Config, encoded: Encoded, vocabularies: Vocabularies) -> keras.Model:
        """A `models.language_model.LanguageModel`."""
        from models.language_model import LanguageModel
        from models.settings import LanguageModelSettings

        for name, split in encoded.splits.items():
            if not split.sequences["tokens"].counts.sum():
                raise UserError(f"the {name} split has no tokens, only white space; give more text")
        built = LanguageModel(
            LanguageModelSettings.of(config.model),
            vocabulary_size=len(vocabularies["vocabulary"]),
            labels=len(vocabularies.get("labels", ())),
        )
        built.build()
        return built

    def register_model(self) -> None:
        """A `models.language_model.LanguageModel`."""
        importlib.import_module("models.language_model")

    def carried(self, model: keras.Model, feed: Feed) -> list[tf.Variable]:
        """The hidden state of each stream behind its last window."""
        import tensorflow as tf

        assert isinstance(feed, StreamFeed)
        state = tf.nest.flatten(model.initial_state(feed.streams))
        return [tf.Variable(value, trainable=False, name=f"carried_{i}") for i, value in enumerate(state)]

    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """The mean over the tokens of a window; a hit is a token that had the highest score."""
        import keras
        import tensorflow as tf

        labels = batch.get("labels")
        if labels is not None:
            chance = keras.random.uniform(tf.shape(labels), seed=model.weight_seed)
            labels = tf.where(chance < NO_LABEL_SHARE, model.labels, labels)
        state = tf.nest.pack_sequence_as(model.initial_state(1), [tf.convert_to_tensor(v) for v in carried])
        nats, hits, tokens, state = _read_window(
            model, batch, state, labels, training=True, label_smoothing=label_smoothing
        )
        for variable, value in zip(carried, tf.nest.flatten(state), strict=True):
            variable.assign(tf.stop_gradient(value))
        tokens = tf.maximum(tokens, 1.0)
        return Losses(nats / tokens, hits, tokens)

    def evaluator(
        self, model: keras.Model, feed: Feed, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], dict[str, float]]:
        """Loss (nats a token), perplexity and accuracy over the whole split."""
        assert isinstance(feed, StreamFeed)
        read = _reader(model, feed)

        def evaluate() -> dict[str, float]:
            nats, hits, tokens = read()
            loss = nats / max(tokens, 1)
            return {"loss": loss, "perplexity": perplexity(loss), "accuracy": hits / max(tokens, 1)}

        return evaluate

    def after_epoch(
        self, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], str]:
        """A sample of what the model writes."""
        import tensorflow as tf

        holder = tf.Module()
        signature = self.signatures(holder, model, vocabularies, config)["serving_default"]
        length = SHOWN_WORDS if config.text.tokens in ("word", "subword") else SHOWN_TOKENS

        def show() -> str:
            arguments = (tf.constant([v]) for v in (b"", length, SHOWN_TEMPERATURE, 0, 1.0, config.seed))
            text: str = signature(*arguments)["text"].numpy()[0].decode(errors="replace")
            return "  | " + text.replace("\n", "\n  | ")

        show.keep_alive = holder  # type: ignore[attr-defined]  # tables live as long as their module
        return show

    def signatures(
        self, module: tf.Module, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Texts from prompts, and how likely given texts are.

        `serving_default` samples; `generate` has all the options; `beam` searches; `score` judges; `begin`
        and `resume` sample piece by piece, with the state in the caller's hands.
        """
        from app.tasks.generation.signatures import GenerationSignatures

        module.generation = GenerationSignatures(model, vocabularies, config)
        signatures: dict[str, Any] = module.generation.all()
        return signatures

    def examples(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """The texts as prompts, or for `score` to be judged; each goes on with its likeliest tokens.

        `resume` goes on from what `begin` gives for the same texts. Labels are none that a model knows: it
        writes as without one.
        """
        rows = len(texts)
        return super().examples(signature, texts) | {
            "prompt": np.array(texts, object),
            "length": np.full(rows, EXAMPLE_LENGTH, np.int32),
            "temperature": np.zeros(rows, np.float32),
            "top_k": np.full(rows, 5, np.int32),
            "top_p": np.full(rows, 0.9, np.float32),
            "repetition_penalty": np.full(rows, 1.1, np.float32),
            "seed": np.arange(rows, dtype=np.int32),
            # As many as rows: TensorFlow Serving's batching takes the first dimension of each input for them.
            "stop": np.array([b"\n\n"] * rows, object),
            "label": np.array([b""] * rows, object),
            "ids": np.zeros((rows, 0), np.int32),
            "width": np.array(2, np.int32),
            "length_penalty": np.array(1, np.float32),
        }

    def lines(self, answers: Answers) -> list[dict[str, Any]]:
        """`loss` (nats a token), `perplexity` and `tokens` of each text."""
        return [
            {
                "loss": round(float(loss), 6),
                "perplexity": round(perplexity(float(loss)), 4),
                "tokens": int(tokens),
            }
            for loss, tokens in zip(answers["loss"], answers["tokens"], strict=True)
        ]

    def evaluate(
        self, predictor: Predictor, run: Run, dataset: Dataset, rows: Iterable[RowBatch]
    ) -> dict[str, Any]:
        """Loss, perplexity and bits per character over the whole split, no document cut off from its past."""
        import tensorflow as tf

        from app.tasks.tokenizing import cutting_options
        from models.text.preprocessor import Preprocessor
        from models.text.tokenize import tokenize
        from models.text.tokens import END_ID

        config, vocabularies = run.config, run.vocabularies()
        options = cutting_options(config, vocabularies) | {"lines": True}
        preprocessor = Preprocessor(vocabularies["vocabulary"], **options)
        ends = vocabularies["ends"] == [ENDS] and CONTINUES not in dataset.columns
        labels = vocabularies.get("labels")
        counts: list[np.ndarray] = []
        continues: list[np.ndarray] = []
        classes: list[np.ndarray] = []
        characters = examples = 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "tokens.ids")
            with path.open("wb") as file:
                for batch in rows:
                    pieces = tokenize(tf.constant(batch["text"], tf.string), **options)
                    ids = preprocessor.ids(pieces).flat_values.numpy()
                    lengths = pieces.row_lengths().numpy()
                    if ends:
                        ids = np.insert(ids, np.cumsum(lengths), END_ID)
                        lengths = lengths + 1
                    ids.astype(np.int32).tofile(file)
                    counts.append(lengths)
                    continues.append(batch.get(CONTINUES, np.zeros(len(lengths), bool)))
                    if labels:
                        classes.append(label_ids(batch, dataset, labels))
                    examples += len(lengths)
                    characters += sum(len(text.decode(errors="replace")) for text in batch["text"])
            tokens = Sequences(path, np.dtype(np.int32), np.concatenate(counts))
            feed = _stream_feed(
                tokens,
                np.concatenate(continues),
                np.concatenate(classes) if classes else None,
                config,
                cut=False,
            )
            nats, hits, number = _reader(predictor.model, feed)()
        loss = nats / max(number, 1)
        return {
            "examples": examples,
            "tokens": int(number),
            "characters": characters,
            "loss": loss,
            "perplexity": perplexity(loss),
            "bits_per_character": nats / max(characters, 1) / math.log(2),
            "accuracy": hits / max(number, 1),
        }


def _stream_feed(
    tokens: Sequences, continues: np.ndarray, labels: np.ndarray | None, config: Config, *, cut: bool = True
) -> StreamFeed:
    from models.text.tokens import END_ID

    bounds = documents(tokens.counts, continues)
    if labels is not None:  # of a document: that of its first row
        first = np.flatnonzero(~continues)
        labels = labels[first if len(first) == len(bounds) - 1 else [0, *first]].astype(np.int32)
    return StreamFeed(
        tokens,
        bounds,
        streams=config.training.batch_size,
        window=config.training.sequence_length,
        start_id=END_ID,
        labels=labels,
        cut=cut,
    )


def _read_window(
    model: keras.Model,
    batch: Mapping[str, tf.Tensor],
    state: Any,
    labels: tf.Tensor | None,
    *,
    training: bool,
    label_smoothing: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
    """Nats, hits and tokens of a window in sum, and the state behind it."""
    import tensorflow as tf

    from models.losses import number_correct, token_cross_entropy

    carried_on = tf.logical_not(batch["fresh"])[:, tf.newaxis]
    state = tf.nest.map_structure(lambda value: tf.where(carried_on, value, 0.0), state)
    logits, state = model(batch["inputs"], state, labels, training=training)
    targets = batch["targets"]
    real = tf.sequence_mask(batch["lengths"], tf.shape(targets)[1]) & batch["counted"][:, tf.newaxis]
    nats = tf.reduce_sum(token_cross_entropy(logits, targets, real, label_smoothing))
    return nats, number_correct(logits, targets, real), tf.reduce_sum(tf.cast(real, tf.float32)), state


def _reader(model: Any, feed: StreamFeed) -> Callable[[], tuple[float, float, float]]:
    """Reads a whole split: nats, hits and tokens in sum."""
    import tensorflow as tf

    entries = feed.whole()
    streams = len(entries[0].start) if entries else 0
    graph: Any = None

    def step(batch: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        names = [name for name in batch if name.startswith("state_")]
        state = tf.nest.pack_sequence_as(model.initial_state(1), [batch[name] for name in sorted(names)])
        return _read_window(model, batch, state, batch.get("labels"), training=False)

    def read() -> tuple[float, float, float]:
        nonlocal graph
        state = [value.numpy() for value in tf.nest.flatten(model.initial_state(streams))]
        sums = np.zeros(3)
        for entry in entries:
            carried = {f"state_{i:03}": value for i, value in enumerate(state)}
            arrays = {**feed.batch(entry).arrays, **carried}
            graph = graph or graph_of(step, arrays)
            *values, after = graph(arrays)
            sums += [float(value) for value in values]
            state = [value.numpy() for value in tf.nest.flatten(after)]
        return float(sums[0]), float(sums[1]), float(sums[2])

    return read


TASK = Generation()
