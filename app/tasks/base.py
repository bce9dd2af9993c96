"""What a task says: all that differs between one kind of problem and another.

A task's module imports TensorFlow inside its functions only, so that data can be found, checked and
refused before TensorFlow is loaded.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data.batching import Feed
from data.encoding import Encoded, UniqueTokens, VocabularyRule
from data.errors import UserError
from data.formats import Field, Reader, Row, Value
from data.prepared import Dataset, Scan, Watch

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.artifacts.run import Run
    from app.config import Config
    from app.prediction.predictor import Predictor

RowBatch = Mapping[str, np.ndarray]
"""Rows of a dataset: an array for each field, as `Dataset.batches` gives them."""
Arrays = Mapping[str, np.ndarray]
"""By name."""
Answers = dict[str, np.ndarray]
"""Outputs of a signature: an array for each, a row for each text."""
Vocabularies = Mapping[str, Sequence[bytes]]
"""Everything that ids stand for, by name: tokens, labels, …; each is a file of the run."""


@dataclass(frozen=True)
class Plan:
    """How rows become token ids."""

    cut: Callable[[RowBatch], tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]]
    """The sequences of a batch of rows, and what is known of each row beside them."""
    vocabulary_of: Mapping[str, str]
    """The vocabulary of each sequence."""
    rules: Mapping[str, VocabularyRule]
    learned: Mapping[str, list[bytes]]
    """What had to be learned from the text before it could be cut."""


class Losses(NamedTuple):
    """How good a batch was."""

    loss: tf.Tensor
    """To be made small: a scalar in nats."""
    hits: tf.Tensor
    """How many of `count` were right."""
    count: tf.Tensor
    """Rows or tokens, that the loss is a mean over."""


class Explainer(NamedTuple):
    """How predictions of a task are explained."""

    signature: str
    """Its outputs are the explanation."""
    explanation: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Maps the outputs of one row to JSON."""


class Task(ABC):
    """A kind of problem, from rows to answers."""

    name: str
    formats: Mapping[str, Reader]
    """How the file formats are read that it learns from."""
    tokens_to_learn_from = 15_000_000
    """How many a training reads where the number of epochs is left open."""
    read_sequences: tuple[str, ...] = ("tokens",)
    """Of those that rows are encoded as: what a model reads."""
    baseline_name = ""
    """What it is compared with."""
    metric: str
    """The figure shown beside the loss in training: the share of hits."""
    signature = "serving_default"
    """The SavedModel's signature that answers texts."""
    batched: tuple[str, ...] = ("serving_default",)
    """Signatures whose every input has one value for each row, and whose every answer depends on its own
    row alone: rows of several requests may share a call."""
    options: tuple[str, ...] = ()
    """Inputs of rank 1 that hold for all rows alike, as many values as they may have."""
    limited: tuple[str, ...] = ("length", "width")
    """Inputs, where a signature has them, that make an answer long in coming: a server bounds them."""
    follows: Mapping[str, str] = {}
    """Signatures that go on from the outputs of another one, and take them under the names that they have
    there, beside `examples`."""
    explainer: Explainer | None = None
    """None: predictions are not explained."""
    validation_names: tuple[str, ...]
    """The figures of the validation rows, that may choose the best epoch."""

    # Rows

    def check_config(self, config: Config) -> None:
        """Refuses, before anything is read, a configuration that the task cannot have, with a UserError."""
        return

    @abstractmethod
    def fields(self, config: Config) -> tuple[Field, ...]:
        """What is read of each row; the first one says which rows are alike."""

    def parallel(self, config: Config) -> tuple[str, ...]:
        """Endings of files that hold one field each, line by line."""
        return ()

    def watch(self, config: Config) -> Watch:
        """Is shown each row before anything is written; may refuse one with a UserError."""
        return Watch()

    def check(self, found: Scan) -> None:
        """Refuses rows that nothing can be learned from, with a UserError."""
        if not found.rows["train"]:
            raise UserError("the data has no rows to train on; give a larger file, or a folder with train.*")

    def check_known(self, found: Scan, split: str, vocabularies: Vocabularies) -> None:
        """Refuses rows of a split that a model can't be right about, with a UserError."""
        return

    def described(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """A row as the data check reads it: its `text`, and its `label` if it has one."""
        return {name: value for name, value in values.items() if name in ("text", "label")}

    # From rows to batches

    @abstractmethod
    def plan(self, dataset: Dataset, config: Config, training: Callable[[], Iterator[RowBatch]]) -> Plan:
        """How rows become token ids.

        Args:
            dataset: prepared.
            config: resolved.
            training: reads the training rows.

        Raises:
            UserError: the rows can't be learned from.
        """

    @abstractmethod
    def vocabularies(self, encoded: Encoded, dataset: Dataset, config: Config) -> dict[str, list[bytes]]:
        """All that the ids of texts and answers stand for."""

    @abstractmethod
    def feed(self, encoded: Encoded, split: str, vocabularies: Vocabularies, config: Config) -> Feed:
        """The batches of a split."""

    def token_counts(self, encoded: Encoded, vocabularies: Vocabularies, config: Config) -> np.ndarray:
        """How often each token of the vocabulary stands in the training rows: int64 [vocabulary]."""
        counts: np.ndarray = encoded.counts["vocabulary"]
        return counts

    def epoch_tokens(self, encoded: Encoded) -> int:
        """Tokens that an epoch reads."""
        return int(sum(encoded.splits["train"].sequences[name].counts.sum() for name in self.read_sequences))

    # The model and its training

    @abstractmethod
    def build_model(self, config: Config, encoded: Encoded, vocabularies: Vocabularies) -> keras.Model:
        """A new model, its weights drawn."""

    def embedding(self, model: keras.Model) -> keras.layers.Embedding:
        """The layer that has a vector for each token of `vocabulary`."""
        return model.embedding

    @abstractmethod
    def register_model(self) -> None:
        """Makes the model's layers known to Keras, so that it can be loaded."""

    def carried(self, model: keras.Model, feed: Feed) -> list[tf.Variable]:
        """What a step of training leaves to the next one, beside weights: none."""
        return []

    @abstractmethod
    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Runs the model on a batch in training."""

    @abstractmethod
    def evaluator(
        self, model: keras.Model, feed: Feed, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], dict[str, float]]:
        """Computes `validation_names` and `loss` on the rows of a feed, with the present weights."""

    def after_epoch(
        self, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> Callable[[], str]:
        """Gives what is printed after each epoch, beside its figures."""
        return str

    # Answers

    @abstractmethod
    def signatures(
        self, module: tf.Module, model: keras.Model, vocabularies: Vocabularies, config: Config
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Strings in, answers out: the SavedModel's functions by the name of their signature.

        Args:
            module: what the functions read beside the model's variables is to be kept there.
            model: its weights.
            vocabularies: of the run.
            config: of the run.
        """

    def input_fields(self, text_column: str) -> tuple[Field, ...]:
        """What `predict` reads of each row."""
        return (Field("text", "text", text_column, "--text-column NAME"),)

    def answer(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """The JSON object that `predict` prints for each row."""
        return self.lines(predictor([row.text().encode() for row in rows]))

    def examples(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Inputs of a signature that ask it about texts, to try a model out with.

        Args:
            signature: its name.
            texts: any bytes; at least one.

        Returns:
            by name, [texts, …] each but for options that all rows share. There may be more than this model's
            signature takes, and all that it takes are there but for outputs of the one that it `follows`.
        """
        return {"text": np.array(texts, object)}

    @abstractmethod
    def lines(self, answers: Answers) -> list[dict[str, Any]]:
        """The JSON object of each row of the main signature's outputs."""

    @abstractmethod
    def evaluate(
        self, predictor: Predictor, run: Run, dataset: Dataset, rows: Iterable[RowBatch]
    ) -> dict[str, Any]:
        """The figures of `evaluate --json`, `examples` among them.

        Args:
            predictor: of the run.
            run: gives vocabularies and configuration.
            dataset: that the rows are of.
            rows: at least one.
        """

    def baseline(
        self,
        train: tuple[Dataset, Iterable[RowBatch]],
        test: tuple[Dataset, Iterable[RowBatch]],
        run: Run,
    ) -> dict[str, Any] | None:
        """The same figures for an honest simple model; None: there is none."""
        return None


def perplexity(loss: float) -> float:
    """Of a loss in nats a token; a loss beyond 700 counts as that."""
    return math.exp(min(loss, 700.0))


def checked_metric(task: Task, config: Config) -> str:
    """The validation figure that chooses the best epoch.

    Raises:
        UserError: the task has no such figure.
    """
    metric: str = config.training.early_stopping_metric
    allowed = ("loss", *task.validation_names)
    if metric not in allowed:
        raise UserError(
            f"training.early_stopping_metric = {metric!r}: expected one of {', '.join(allowed)}, "
            f"which {task.name} has"
        )
    return metric


def evaluated(
    step: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
    feed: Feed,
    figures: Callable[[Sequence[Arrays], Sequence[Arrays]], dict[str, float]],
) -> Callable[[], dict[str, float]]:
    """An evaluator of a model that answers each batch for itself.

    Args:
        step: a batch to what the figures are made of.
        feed: the rows.
        figures: from all batches and what `step` gave for each.
    """
    graph = None

    def evaluate() -> dict[str, float]:
        nonlocal graph
        batches = []
        outputs = []
        for entry in feed.whole():
            arrays = feed.batch(entry).arrays
            graph = graph or graph_of(step, arrays)
            batches.append(arrays)
            outputs.append({name: value.numpy() for name, value in graph(arrays).items()})
        return figures(batches, outputs)

    return evaluate


def graph_of(
    step: Callable[..., Any], arrays: Mapping[str, np.ndarray]
) -> tf.types.experimental.PolymorphicFunction:
    """A graph of a function of a batch, traced once for batches of any size."""
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec([None] * array.ndim, tf.as_dtype(array.dtype), name)
        for name, array in arrays.items()
    }
    return tf.function(step, input_signature=[specs], autograph=False)
