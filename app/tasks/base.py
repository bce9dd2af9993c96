"""What a task consists of: all that differs between one kind of problem and another.

A task is a record of three parts. `Examples` turns the examples of a dataset into batches. `Training` builds
the network and computes its losses and metrics. `Predictions` says what the SavedModel computes and what its
outputs mean. Everything else is written once for all tasks.

Modules of tasks import TensorFlow inside functions only, so that data can be found, checked and refused
before TensorFlow is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from app.artifacts.preprocessing import Facts, Preprocessing
from app.bootstrap import OutcomesByMetric
from app.config import TaskConfig
from app.metrics import Metric
from app.page.blocks import Section
from app.tasks.card import TaskCard
from app.tasks.monitoring import Monitoring
from app.tasks.search import Space
from data.batching import Batches, made_ahead
from data.blank_texts import BlankTexts
from data.encoding import Encoded, UniqueTokens, VocabularyRule
from data.errors import UserError
from data.findings import Finding
from data.formats import Field, Row, Shape
from data.prepared import Dataset
from data.scan import ExampleValidator, Scan
from data.sources import CatalogueName, Source
from data.splits import ALL_SPLITS

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor
    from app.tasks.inspection import Inspection
    from app.tasks.signature import Signature
    from models.divergences import Scores
    from models.layers.recurrent import RecurrentStack

ExampleBatch = Mapping[str, np.ndarray]
"""Examples of a dataset: an array for each field, as `Dataset.batches` yields them."""
Arrays = Mapping[str, np.ndarray]
"""Arrays by name."""
OutputArrays = dict[str, np.ndarray]
"""Outputs of a signature by name; each has one row for each input text."""
Split = tuple[Dataset, Iterable[ExampleBatch]]
"""A dataset, and batches of examples of one of its splits."""

C = TypeVar("C", bound=TaskConfig)
F = TypeVar("F", bound=Facts)


@dataclass(frozen=True)
class Plan:
    """How examples become token ids."""

    tokenize: Callable[[ExampleBatch], tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]]
    """From a batch of examples to its token sequences by name, and to further columns, such as labels."""
    vocabulary_of: Mapping[str, str]
    """The name of the vocabulary of each sequence."""
    rules: Mapping[str, VocabularyRule]
    """How each vocabulary is learned."""
    facts: Mapping[str, Any]
    """JSON values that had to be learned from the training examples first, such as subword pieces."""


class Losses(NamedTuple):
    """Result of a training step."""

    loss: tf.Tensor
    """Mean loss in nats: the scalar to minimize."""
    correct: tf.Tensor
    """Number of correct predictions."""
    count: tf.Tensor
    """Number of examples or tokens that the loss is a mean over."""
    scores: Scores | None = None
    """Of the classes, tags or tokens; None if the task has none that can be compared."""
    others: tuple[tf.Tensor, ...] = ()
    """Those terms of the loss that are means over something else than `count`, see `Training.counts`."""


class NamedAxis(NamedTuple):
    """An axis of a weight whose elements have names, by which another network takes them over."""

    weight: Any
    """A variable of the network."""
    axis: int
    kind: str
    """What the elements are, for the user: tokens, labels, …."""
    names: Sequence[Hashable]
    """In the order of the elements."""


class Examples(ABC, Generic[C, F]):
    """From the examples of a dataset to the batches of a network."""

    shapes: tuple[Shape, ...]
    """The shapes of files that the task trains on, as in `data.formats`."""
    tokens_to_learn_from = 15_000_000
    """Number of tokens in all epochs together, if the number of epochs is not configured."""
    read_sequences: tuple[str, ...] = ("tokens",)
    """Names of the encoded sequences that the network reads."""
    written_sequences: tuple[str, ...] = ()
    """Those of them whose tokens the model predicts."""
    pair: tuple[str, str] | None = None
    """Names of the fields of a text and its translation, which the data check compares."""

    @abstractmethod
    def fields(self, config: C) -> tuple[Field, ...]:
        """Return the fields of an example; equal values of the first one mark duplicates."""

    def with_data(self, config: C, source: Source | CatalogueName) -> C:
        """Return the configuration with what the data itself decides, e.g. how many labels an example has."""
        return config

    def parallel(self, config: C) -> tuple[str, ...]:
        """Return the suffixes of line-aligned files that hold one field each."""
        return ()

    def validator(self, config: C) -> ExampleValidator:
        """Return a validator that sees each example before anything is written."""
        return BlankTexts(
            [own.name for own in self.fields(config) if own.kind == "text" and not own.optional]
        )

    def doctor(self, config: C) -> ExampleValidator:
        """Return a validator whose warnings and notes only `datasets check` shows."""
        return ExampleValidator()

    def check(self, found: Scan) -> Iterator[Finding]:
        """Yield the errors because of which nothing can be learned from the examples."""
        if not found.examples["train"]:
            if found.failed["train"] or found.failed[ALL_SPLITS]:
                return  # which is another error
            yield Finding("the data has no training examples", "give a larger file, or a folder with train.*")
        elif not found.examples["validation"]:
            if found.moved:
                rare = f": {found.moved:,} are in train because it would have no other example of their label"
                why = next((warning.sentence() for warning in self.warn(found)), "")
                advice = why or "add examples or a validation split"
            else:
                rare, advice = "", "add examples or a validation split, or increase data.validation_fraction"
            yield Finding(f"no example is left for validation{rare}", advice)

    def warn(self, found: Scan) -> Iterator[Finding]:
        """Yield what is odd about the examples, and does not prevent training."""
        yield from ()

    @abstractmethod
    def plan(
        self,
        dataset: Dataset,
        config: C,
        training: Callable[[], Iterator[ExampleBatch]],
        kept: Preprocessing[F] | None = None,
    ) -> Plan:
        """Return how examples become token ids.

        Args:
            dataset: prepared.
            config: resolved.
            training: returns an iterator over the training examples.
            kept: of a model that training starts from: its tokens come first, and its subwords are used.

        Raises:
            UserError: nothing can be learned from the examples.
        """

    @abstractmethod
    def preprocessing(
        self, encoded: Encoded, dataset: Dataset, config: C, kept: Preprocessing[F] | None = None
    ) -> Preprocessing[F]:
        """Return the vocabularies and facts of a model that is to be trained on the dataset.

        Args:
            encoded: the dataset, by `plan`.
            dataset: prepared.
            config: resolved.
            kept: as of `plan`.
        """

    @abstractmethod
    def batches(self, encoded: Encoded, split: str, preprocessing: Preprocessing[F], config: C) -> Batches:
        """Return the batches of a split."""

    def token_counts(self, encoded: Encoded, preprocessing: Preprocessing[F], config: C) -> np.ndarray:
        """Return the number of occurrences of each token in the training examples: int64 [vocabulary]."""
        counts: np.ndarray = encoded.counts["vocabulary"]
        return counts

    def occurrences(
        self, encoded: Encoded, split: str, preprocessing: Preprocessing[F], config: C
    ) -> dict[str, np.ndarray]:
        """Return how often each token of a vocabulary occurs in a split: int64 [vocabulary].

        By the name of the sequence.
        """
        sequences = encoded.splits[split].sequences
        return {
            name: sequences[name].occurrences(
                len(preprocessing.vocabularies[self.vocabulary_of(name, config)])
            )
            for name in self.read_sequences
        }

    def vocabulary_of(self, sequence: str, config: C) -> str:
        """Return the name of the vocabulary of a sequence."""
        return "vocabulary"

    def vocabulary_ids(
        self, encoded: Encoded, preprocessing: Preprocessing[F], config: C
    ) -> np.ndarray | None:
        """Return the id in `vocabulary` of each id of the encoded sequences, int; None: they are the same."""
        return None

    def unlabelled(self, config: C) -> str:
        """Return the file or folder of texts without labels, or an empty string."""
        return ""

    def reads_characters(self, config: C) -> bool:
        """Return whether the network reads the characters of a token that is out of vocabulary."""
        return False

    def epoch_tokens(self, encoded: Encoded) -> int:
        """Return the number of tokens of an epoch."""
        return int(sum(encoded.splits["train"].sequences[name].counts.sum() for name in self.read_sequences))


class Training(ABC, Generic[C, F]):
    """The network of a task, its losses and its validation metrics."""

    reads_whole_texts = False
    """Whether a prediction is one for a whole text, so that all its tokens should count."""
    distills = False
    """Whether `teach` is there, and `losses` reads what it returns, see `app.tasks.teaching`."""

    @abstractmethod
    def metrics(self, preprocessing: Preprocessing[F]) -> tuple[Metric, ...]:
        """Return the validation metrics that the task has on this data, the loss among them."""

    @abstractmethod
    def build_model(
        self, config: C, preprocessing: Preprocessing[F], token_counts: np.ndarray
    ) -> keras.Model:
        """Return a new network with randomly initialized weights.

        Args:
            config: resolved.
            preprocessing: of the model.
            token_counts: int64 [vocabulary], as `Examples.token_counts` returns them.
        """

    def start(
        self, model: keras.Model, batches: Batches, preprocessing: Preprocessing[F], config: C
    ) -> Iterator[str]:
        """Set the weights that are computed from the training examples, before the first step.

        Args:
            model: the network.
            batches: of the training examples.
            preprocessing: of the model.
            config: resolved.

        Yields:
            what is computed next, for the user.
        """
        yield from ()

    def embedding(self, model: keras.Model) -> keras.layers.Embedding:
        """Return the embedding of the tokens of `vocabulary`."""
        return model.embedding

    def encoder(self, model: keras.Model) -> RecurrentStack:
        """Return the recurrent layers over the tokens of `vocabulary`."""
        stack: RecurrentStack = model.recurrent
        return stack

    def directions(self, model: keras.Model) -> tuple[Sequence[keras.layers.RNN], Sequence[keras.layers.RNN]]:
        """Return the recurrent layers over the tokens of `vocabulary`: forward, and backward if any."""
        stack = self.encoder(model)
        return stack.forward, stack.backward

    def named_axes(
        self, model: keras.Model, preprocessing: Preprocessing[F], config: C
    ) -> Iterator[NamedAxis]:
        """Yield the axes of weights that follow a vocabulary: tokens, labels, tags."""
        yield NamedAxis(self.embedding(model).embeddings, 0, "tokens", preprocessing.vocabulary)

    @abstractmethod
    def register_model(self) -> None:
        """Import the network's module, so that Keras can load it."""

    def carried(self, model: keras.Model, batches: Batches) -> list[tf.Variable]:
        """Return variables, other than weights, that a training step leaves for the next one."""
        return []

    def inspection(self, model: keras.Model, preprocessing: Preprocessing[F], config: C) -> Inspection[C, F]:
        """Return how a trained network is looked into.

        Raises:
            UserError: the task does not say how.
        """
        raise UserError(f"a {config.task} model cannot be inspected")

    @abstractmethod
    def losses(
        self,
        model: keras.Model,
        batch: Mapping[str, tf.Tensor],
        carried: Sequence[tf.Variable],
        *,
        label_smoothing: float,
    ) -> Losses:
        """Run the network on a batch in training mode."""

    def counts(self, batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Return what the loss of a batch is a mean over, and what each of its `others` is, float32 [].

        The loss of a batch that replicas share is the sum of theirs, weighted by their parts of these.
        """
        import tensorflow as tf

        return [tf.cast(tf.size(batch["lengths"]), tf.float32)]

    def scores(self, model: keras.Model, batch: Mapping[str, tf.Tensor]) -> Scores:
        """Run the network on texts without labels in training mode.

        Args:
            model: the network.
            batch: `ids` int32 [B, T] and `lengths` int32 [B].

        Returns:
            scores of the classes, as of `losses`.
        """
        raise NotImplementedError

    def cannot_learn(self, student: C, teacher: C) -> str:
        """Return why a student cannot learn from the probabilities of a teacher; empty if it can."""
        return ""

    def teach(
        self, model: keras.Model, batch: Mapping[str, tf.Tensor], temperature: float
    ) -> dict[str, tf.Tensor]:
        """Return the probabilities that a network gives to what students learn.

        Args:
            model: the teacher.
            batch: of its training examples.
            temperature: its logits are divided by it.

        Returns:
            by name float32 [B, C], or [B, T, K] with a row for each of the tokens that `Batches` sorts by.
        """
        raise NotImplementedError

    @abstractmethod
    def evaluator(
        self, model: keras.Model, batches: Batches, preprocessing: Preprocessing[F], config: C
    ) -> Callable[[], dict[str, float]]:
        """Return a function that computes `metrics` on a split with the present weights."""

    def after_epoch(
        self, model: keras.Model, preprocessing: Preprocessing[F], config: C
    ) -> Callable[[], str]:
        """Return a function whose sentence is printed after each epoch; an empty one is not."""
        return str

    def sampler(self, model: keras.Model, preprocessing: Preprocessing[F], config: C) -> Callable[[int], str]:
        """Return a function from the number of an epoch to a text, which is printed and kept after it.

        The text is generated; it is empty if there is none.
        """
        return lambda epoch: ""


def head_axes(head: Any, kind: str, names: Sequence[Hashable]) -> Iterator[NamedAxis]:
    """Yield the axes of a dense layer that gives a score to each of some names."""
    yield NamedAxis(head.kernel, 1, kind, names)
    if head.bias is not None:
        yield NamedAxis(head.bias, 0, kind, names)


class Explanation(NamedTuple):
    """How a prediction is explained."""

    signature: str
    """The signature that computes the explanation of a text."""
    to_json: Callable[[Mapping[str, Any]], dict[str, Any]]
    """From the outputs of one row to a JSON object."""


class Evaluation(NamedTuple):
    """Metrics of a model on the examples of a split, and how each example contributes to the main ones."""

    metrics: dict[str, Any]
    """By the names of `evaluate --json`."""
    outcomes: OutcomesByMetric = MappingProxyType({})
    """Of the metrics that models are compared by, the main one first: for each example, in order."""


class Unlabelled(NamedTuple):
    """A text without a label, and what a model says of it."""

    text: str
    example: dict[str, Any]
    """As a line of a training file: with an empty label, or with predicted tags or a predicted target."""
    uncertainty: float
    """From 0; of one model only, it says which texts are more uncertain than others."""


class Predictions(ABC, Generic[C, F]):
    """What the SavedModel of a task computes, and what its outputs mean."""

    signature = "serving_default"
    """The signature that `predict` calls with texts."""
    described: tuple[str, ...] = ("labels",)
    """Vocabularies that the manifest of an export repeats."""
    most_reported = 2000
    """Most examples that are predicted for the report which training writes."""
    baseline_name = ""
    """The model that `evaluate` compares with."""
    monitoring: Monitoring | None = None
    """How requests to a server are watched."""
    explanation: Explanation | None = None
    states: Explanation | None = None
    """How the hidden state after each token of a text is shown: `tokens` with their places, names of
    `units`, and `states`, a row of values for each unit."""
    optional_output: Mapping[str, Any] = MappingProxyType({})
    """Values of what a prediction may have and that of a usual text lacks: for the types of columns."""
    answered = "the prediction of one text"
    """What `answer` does, for sentences."""

    @abstractmethod
    def signatures(
        self, module: tf.Module, model: keras.Model, preprocessing: Preprocessing[F], config: C
    ) -> dict[str, Signature]:
        """Return the signatures of the SavedModel by name.

        Args:
            module: tables and other state of the functions must be attributes of it.
            model: the network.
            preprocessing: of the run.
            config: of the run.
        """

    def decided(self, model: keras.Model, config: C) -> C:
        """Return the configuration of a trained network, with what its training has decided."""
        return config

    @abstractmethod
    def card(self, preprocessing: Preprocessing[F], config: C) -> TaskCard:
        """Return what the model card says of the task.

        Args:
            preprocessing: of the run.
            config: of the run.
        """

    def answer(self, predictor: Predictor, text: str) -> object:
        """Do what a user of the model waits for, given one text; its time is measured."""
        return self.predict(predictor, [Row(1, {"text": text})])

    def calibrated(self, config: C) -> bool:
        """Return whether the probabilities were fitted to the validation split."""
        return bool(getattr(config.model, "calibrated", False))

    def input_fields(self, config: C, text_column: str | None) -> tuple[Field, ...]:
        """Return the fields that `predict` reads from each record.

        Args:
            config: of the model.
            text_column: the column of the text; None: as in training.
        """
        column = text_column or str(getattr(config.data, "text_column", "text"))
        return (Field("text", "text", column, "--text-column NAME"),)

    def predict(self, predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the JSON object that `predict` prints for each record, in order."""
        texts = [row.text().encode() for row in rows]
        return self.to_json(predictor.run_texts(self.signature, texts))

    def score(
        self, predictor: Predictor, texts: Sequence[str], targets: Sequence[str] | None
    ) -> list[dict[str, float]]:
        """Return the loss of texts, or of target texts, by name for each text.

        Args:
            predictor: of the task.
            texts: at least one.
            targets: a target for each text; None: the texts themselves are scored.

        Raises:
            UserError: the task does not score texts, or needs targets, or takes none.
        """
        raise UserError(f"a {predictor.info.task} model does not score texts")

    def report(
        self,
        predictor: Predictor,
        inspection: Inspection[C, F],
        dataset: Dataset,
        split: str,
        result: Mapping[str, Any],
    ) -> list[Section]:
        """Return what the report of a run says of the task's predictions.

        Args:
            predictor: of the run.
            inspection: of the same network, with gradients.
            dataset: that it was trained on.
            split: that is looked at.
            result: of `evaluate` on that split.
        """
        return []

    def unlabelled(self, predictor: Predictor, rows: Sequence[Row]) -> list[Unlabelled]:
        """Return how uncertain a model is of each record.

        Raises:
            UserError: its task has nothing that could be labelled.
        """
        raise UserError(f"a {predictor.info.task} model learns from texts alone: there is nothing to label")

    def require_scores(self, predictor: Predictor) -> None:
        """Require that `predict` gives each text a label with a score.

        Raises:
            UserError: it does not, so that none can be rejected for its score.
        """
        raise UserError(
            f"--reject-below: {predictor.info.where} ({predictor.info.task}) predicts no labels; leave it out"
        )

    def sample_inputs(self, signature: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return inputs of a signature for given texts, to try out a model.

        Args:
            signature: its name.
            texts: any bytes; at least one.

        Returns:
            by name, one row for each text; shared inputs have their own shape. There may be more inputs than
            the signature takes. Outputs of the signature that it follows are not among them.
        """
        return {"text": np.array(texts, object)}

    @abstractmethod
    def to_json(self, outputs: OutputArrays) -> list[dict[str, Any]]:
        """Return the JSON object of each row of the outputs of the main signature."""

    @abstractmethod
    def evaluate(
        self, predictor: Predictor, dataset: Dataset, examples: Iterable[ExampleBatch]
    ) -> Evaluation:
        """Evaluate a model; the number of `examples` is among the metrics.

        Args:
            predictor: of a run or an export of the task.
            dataset: that the examples belong to.
            examples: batches; at least one example.
        """

    def baseline(self, train: Split, test: Split, predictor: Predictor) -> Evaluation | None:
        """Train and evaluate the baseline.

        Args:
            train: the examples to learn from.
            test: the examples to evaluate on.
            predictor: gives labels and configuration.

        Returns:
            metrics by the names of `evaluate`; outcomes of the same examples in the same order as those of
            `evaluate`. None: the task has no baseline.
        """
        return None


@dataclass(frozen=True)
class Task(Generic[C, F]):
    """A kind of problem."""

    name: str
    facts: type[F]
    """The type of the facts of its preprocessing."""
    examples: Examples[C, F]
    training: Training[C, F]
    predictions: Predictions[C, F]
    search: Space = field(default_factory=dict)
    """What `textrnn tune` searches, if it is not told otherwise."""


def evaluated(
    step: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
    batches: Batches,
    metrics: Callable[[Sequence[Arrays], Sequence[Arrays]], dict[str, float]],
    *,
    reads: Collection[str] = (),
) -> Callable[[], dict[str, float]]:
    """Return an evaluator of a network whose batches are independent of each other.

    Args:
        step: from a batch to what the metrics are computed from.
        batches: of the split.
        metrics: from the arrays of all batches that it reads, and the results of `step` for each batch. All
            of them are in memory at once.
        reads: names of these arrays; a batch may lack some.
    """
    graph = None

    def evaluate() -> dict[str, float]:
        nonlocal graph
        arrays = []
        outputs = []
        for batch in made_ahead(batches.batch, batches.whole()):
            graph = graph or graph_of(step, batch.arrays)
            arrays.append({name: batch.arrays[name] for name in reads if name in batch.arrays})
            outputs.append({name: value.numpy() for name, value in graph(batch.arrays).items()})
        return metrics(arrays, outputs)

    return evaluate


def graph_of(
    step: Callable[..., Any], arrays: Mapping[str, np.ndarray]
) -> tf.types.experimental.PolymorphicFunction:
    """Return a graph of a function of a batch, traced once for batches of any size."""
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec([None] * array.ndim, tf.as_dtype(array.dtype), name)
        for name, array in arrays.items()
    }
    return tf.function(step, input_signature=[specs], autograph=False)


def by_row(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the outputs of a signature, one value per row each, as a dictionary for each row."""
    columns = [values.tolist() for values in outputs.values()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]
