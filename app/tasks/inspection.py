"""What `inspect` must know of a task: how its network computes scores from the vectors of tokens.

Modules of tasks import TensorFlow inside functions only, as those of `app.tasks.base`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from app.artifacts.preprocessing import Facts, Preprocessing
from app.config import TaskConfig
from data.errors import UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.prediction.predictor import Predictor

C = TypeVar("C", bound=TaskConfig)
F = TypeVar("F", bound=Facts)

TOKENS = "tokens"
"""Name of the sequence of a task that has only one."""


@dataclass(frozen=True)
class Vectors:
    """Rows of token vectors, as the recurrent layers read them: one sequence or several, by name."""

    values: Mapping[str, tf.Tensor]
    """float32 [B, T, D] each, right-padded."""
    lengths: Mapping[str, tf.Tensor]
    """int32 [B] each, at least 1."""
    ids: tf.Tensor | None = None
    """int32 [B, T] of the tokens of the first sequence; branches that read ids take them."""

    def with_values(self, values: Mapping[str, tf.Tensor]) -> Vectors:
        """Return the same rows with other vectors."""
        return replace(self, values={**self.values, **values})

    def rows(self, rows: tf.Tensor) -> Vectors:
        """Return chosen rows: int32 [N]."""
        import tensorflow as tf

        def chosen(tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {name: tf.gather(tensor, rows) for name, tensor in tensors.items()}

        ids = None if self.ids is None else tf.gather(self.ids, rows)
        return Vectors(chosen(self.values), chosen(self.lengths), ids)


@dataclass(frozen=True)
class Unrolled:
    """A recurrent layer of one direction, and what it reads."""

    name: str
    layer: keras.layers.RNN
    inputs: tf.Tensor
    """float32 [B, T, D], in the order of the text."""
    lengths: tf.Tensor
    """int32 [B]."""
    backward: bool = False
    """Whether it reads each row from its end to its start."""
    sequence: str = TOKENS
    """The name of the sequence whose tokens its steps are."""
    initial: Sequence[tf.Tensor] | None = None
    """The state before the first step, float32 [B, U] each; None: zeros."""

    def rows(self, rows: tf.Tensor, steps: int) -> Unrolled:
        """Return the first steps of chosen rows: int32 [N]."""
        import tensorflow as tf

        initial = None if self.initial is None else [tf.gather(own, rows) for own in self.initial]
        inputs = tf.gather(self.inputs, rows)[:, :steps]
        return replace(self, inputs=inputs, lengths=tf.gather(self.lengths, rows), initial=initial)


class Text(NamedTuple):
    """One text as a network reads it, and the outputs of interest."""

    vectors: Vectors
    """A single row without padding."""
    unknown: Mapping[str, tf.Tensor]
    """The vectors of unknown tokens in place of those whose influence is wanted: float32 [1, T, D]."""
    tokens: Mapping[str, Sequence[str]]
    """Of each sequence."""
    steps: Sequence[int]
    """Of the outputs, see `Inspection.logits`."""
    classes: Sequence[int] | None = None
    """Of each output; None: the one that is predicted."""
    summed: bool = False
    """Whether the outputs are explained as one, the sum of their scores."""


class Line(NamedTuple):
    """The straight line along which integrated gradients are computed, for R outputs."""

    starts: list[tf.Tensor]
    """float32 [1, …] each: the baseline."""
    ends: list[tf.Tensor]
    """The text."""
    outputs: int
    """R."""
    score: Callable[[list[tf.Tensor], np.ndarray], tf.Tensor]
    """From points of the line, float32 [N, …] each, and the number of the output of each point, int [N], to
    its score, float32 [N]."""
    of_tokens: Callable[[list[np.ndarray]], dict[str, np.ndarray]]
    """From mean gradients, float32 [R, …] each, to the influence of the tokens of each sequence: [R, T]."""


class Inspection(ABC, Generic[C, F]):
    """How the network of a task is looked into."""

    main = TOKENS
    """The sequence along which the distance from an output is counted."""
    per_step = True
    """Whether there is an output for each step of the main sequence; else one for a text."""
    sees_ahead = False
    """Whether an output of a step depends on later steps of the main sequence."""
    what = "output"
    """What an output is, for sentences."""

    def __init__(self, model: keras.Model, preprocessing: Preprocessing[F], config: C) -> None:
        """Prepare.

        Args:
            model: a network with the layers of Keras; portable kernels have no gradients.
            preprocessing: of the run.
            config: of the run.
        """
        self.model, self.preprocessing, self.config = model, preprocessing, config

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names of the classes of `logits`."""

    @abstractmethod
    def vectors(self, examples: Mapping[str, Any], longest: int) -> Vectors:
        """Return the vectors of examples of a dataset, at most the last `longest` tokens of each."""

    def sample(
        self, examples: Mapping[str, Any], number: int, longest: int, random: np.random.Generator
    ) -> Vectors:
        """Return the vectors of a random sample of examples.

        Args:
            examples: of a dataset.
            number: most rows.
            longest: most tokens of a row.
            random: draws.
        """
        size = len(next(iter(examples.values())))
        rows = np.sort(random.permutation(size)[:number])
        return self.vectors({name: values[rows] for name, values in examples.items()}, longest)

    @abstractmethod
    def text(self, text: str, predictor: Predictor) -> Text:
        """Return a text.

        Args:
            text: as the user gives it.
            predictor: of the same run.

        Raises:
            UserError: it has no tokens.
        """

    @abstractmethod
    def logits(self, vectors: Vectors, steps: tf.Tensor) -> tf.Tensor:
        """Return the logits of all classes, differentiably.

        Args:
            vectors: of B rows.
            steps: int32 [B], the step of the main sequence whose output is wanted.

        Returns:
            float32 [B, C].
        """

    @abstractmethod
    def layers(self, vectors: Vectors) -> list[Unrolled]:
        """Return the recurrent layers with what they read, the lowest first."""

    def matrices(self) -> dict[str, keras.layers.RNN]:
        """Return all recurrent layers by name."""
        import keras

        layers = [own for own in self.model._flatten_layers() if isinstance(own, keras.layers.RNN)]
        return {_name(own, self.model): own for own in layers}

    def classes(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the predicted class: float32 [B, C] → int32 [B]."""
        import tensorflow as tf

        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of all classes: float32 [B, C]."""
        import tensorflow as tf

        return tf.nn.softmax(logits)

    def scores(self, logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Return the log-odds of a class for each row: float32 [B, C], int32 [B] → [B]."""
        from models.classifier import log_odds

        return log_odds(logits, classes)

    def chosen(self, text: Text) -> np.ndarray:
        """Return the class of each output of a text: int32 [R]."""
        if text.classes is not None:
            return np.asarray(text.classes, np.int32)
        steps = np.asarray(text.steps, np.int32)
        found: np.ndarray = self.classes(
            self.logits(text.vectors.rows(np.zeros(len(steps), int)), steps)
        ).numpy()
        return found

    def line(self, text: Text) -> Line:
        """Return the line from unknown tokens to the tokens of a text."""
        names = list(text.unknown)
        classes = self.chosen(text)
        steps = np.asarray(text.steps, np.int32)
        ends = [text.vectors.values[name] for name in names]
        starts = [text.unknown[name] for name in names]

        def score(points: list[tf.Tensor], outputs: np.ndarray) -> tf.Tensor:
            rows = text.vectors.rows(np.zeros(len(outputs), int))
            rows = rows.with_values(dict(zip(names, points, strict=True)))
            return self.scores(self.logits(rows, steps[outputs]), classes[outputs])

        return Line(starts, ends, len(steps), score, by_token(names, starts, ends))


def by_token(
    names: Sequence[str], starts: Sequence[tf.Tensor], ends: Sequence[tf.Tensor]
) -> Callable[[list[np.ndarray]], dict[str, np.ndarray]]:
    """Return `Line.of_tokens` for lines of token vectors, by the names of their sequences."""

    def of_tokens(gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: (gradient * (end.numpy() - start.numpy())).sum(axis=-1)
            for name, gradient, start, end in zip(names, gradients, starts, ends, strict=True)
        }

    return of_tokens


def _name(layer: keras.layers.Layer, model: keras.Model) -> str:
    """Return the path of a layer within a network, such as `recurrent/forward_0`."""
    return str(layer.path).removeprefix(f"{model.name}/")


def no_tokens(what: str = "a sentence") -> UserError:
    """Return the error about a text without tokens."""
    return UserError(f"the text has no tokens; give {what}")
