"""What a task says: all that differs between one kind of problem and another.

A task's module imports TensorFlow inside its functions only, so that data can be found, checked and
refused before TensorFlow is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.prepared import Dataset, Scan
from data.readers import Field

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from app.config import Config
    from models.text import Preprocessor

Batch = Mapping[str, np.ndarray]
Answers = dict[str, np.ndarray]


class Task(ABC):
    """A kind of problem, from rows to answers."""

    name: str
    formats: tuple[str, ...]
    """File formats that it reads."""
    metric: str
    """The figure shown beside the loss in training: the mean of `hits`."""
    signature = "serving_default"
    """The SavedModel's signature that answers texts."""

    @abstractmethod
    def fields(self, config: Config) -> tuple[Field, ...]:
        """What is read of each row; the first one is the text."""

    @abstractmethod
    def check(self, found: Scan) -> None:
        """Refuses rows that nothing can be learned from, with a UserError."""

    @abstractmethod
    def check_known(self, found: Scan, split: str, labels: Sequence[str]) -> None:
        """Refuses rows of a split that a model with these labels can't be right about, with a UserError."""

    @abstractmethod
    def targets(self, batch: Batch, dataset: Dataset, labels: Sequence[str]) -> np.ndarray:
        """What is to be learned of each row of a batch of `dataset`: [B], as ids into `labels`.

        Raises:
            UserError: a row has none, or one that `labels` lack.
        """

    @abstractmethod
    def row_weights(self, targets: np.ndarray, config: Config) -> np.ndarray:
        """The weight of each training row in the loss: float32 [rows], 1 on average."""

    @abstractmethod
    def build_model(self, config: Config, *, token_counts: np.ndarray, labels: Sequence[str]) -> keras.Model:
        """A new model, its weights drawn.

        Args:
            config: resolved.
            token_counts: int64 [vocabulary], how often each token stands in the training text.
            labels: what there is to tell apart.
        """

    @abstractmethod
    def loss(self, logits: tf.Tensor, targets: tf.Tensor, *, label_smoothing: float = 0.0) -> tf.Tensor:
        """The loss of each row in nats: float32 [B]."""

    @abstractmethod
    def hits(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Whether each row is right: float32 [B]."""

    @abstractmethod
    def validation_metrics(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures of a split beside its loss, from all its logits."""

    @abstractmethod
    def signatures(
        self, preprocessor: Preprocessor, model: keras.Model, labels: Sequence[str]
    ) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Strings in, answers out: the SavedModel's functions by the name of their signature."""

    @abstractmethod
    def lines(self, answers: Answers) -> list[dict[str, Any]]:
        """The JSON object that `predict` prints for each row of a signature's outputs."""

    @abstractmethod
    def evaluate(self, answers: Answers, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        """The figures of `evaluate --json` for a split, from the answers to its texts."""

    @abstractmethod
    def baseline(
        self,
        train: tuple[Sequence[bytes], np.ndarray],
        test: tuple[Sequence[bytes], np.ndarray],
        labels: Sequence[str],
        *,
        seed: int,
    ) -> dict[str, Any]:
        """The same figures for an honest simple model: (texts, targets) of both splits."""
