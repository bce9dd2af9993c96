"""What a training minimizes: the loss of its task, and what regularizes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from app.config import TaskConfig
from app.tasks.base import Losses, Task
from app.training.unlabelled import PREFIX
from models.divergences import Scores, symmetric_divergence
from models.perturbation import Pass


class Objective:
    """The loss of a task plus the terms that the configuration weighs; each of them is off by default.

    * `training.mixup`: pooled vectors and targets of two rows are mixed (Zhang et al. 2018; of sentence
      vectors Guo et al. 2019), with shares from Beta(α, α).
    * `training.r_drop`: the symmetric divergence of two passes with different dropout (Liang et al. 2021).
    * `training.adversarial`: the loss with the embeddings perturbed against it (Miyato et al. 2017).
    * `training.virtual_adversarial`: the divergence that a perturbation of the embeddings causes (the same),
      the mean over the rows of a batch and its texts without labels, see `app.training.unlabelled`.
    """

    def __init__(
        self, task: Task[Any, Any], model: keras.Model, config: TaskConfig, carried: Sequence[tf.Variable]
    ) -> None:
        """Prepare; a key that the task does not have is off.

        Args:
            task: gives the loss.
            model: the network.
            config: resolved.
            carried: as of `Training.losses`.
        """
        self.task, self.model, self.carried = task, model, carried
        self.label_smoothing = config.training.label_smoothing

        def value(key: str) -> float:
            return float(getattr(config.training, key, 0.0))

        self.mixup, self.r_drop = value("mixup"), value("r_drop")
        self.adversarial, self.virtual_adversarial = value("adversarial"), value("virtual_adversarial")
        self.norm = value("perturbation")
        self.seed = (
            keras.random.SeedGenerator(config.seed) if self.mixup or self.virtual_adversarial else None
        )

    @property
    def variables(self) -> list[Any]:
        """The state of random numbers that the network does not have: part of the state of a training."""
        return [] if self.seed is None else [self.seed.state]

    def losses(self, batch: Mapping[str, tf.Tensor], parts: Sequence[float | tf.Tensor] = ()) -> Losses:
        """Run the network on a batch in training mode, as often as its terms need.

        Args:
            batch: all rows of a step, or those of a replica.
            parts: of a replica: what `Training.counts` are as parts of those of all replicas, from 0 to 1.
                The losses of all replicas then have the sum that the loss of all rows is.

        Returns:
            the sum of all terms as the loss; what is correct in the first pass.
        """
        part, *of_others = parts or (1.0,)
        if self.mixup:
            batch = {**batch, **self._mixing(tf.shape(batch["lengths"])[0])}

        def run() -> Losses:
            found = self.task.training.losses(
                self.model, batch, self.carried, label_smoothing=self.label_smoothing
            )
            if not parts:
                return found
            others = zip(found.others, of_others, strict=True)
            return found._replace(loss=part * found.loss + sum((own - part) * term for term, own in others))

        found, extra = self._perturbed(batch, run, part)
        if self.r_drop:
            second = run()
            unlike = symmetric_divergence(_scores(found), _scores(second))
            found = found._replace(loss=(found.loss + second.loss) / 2 + self.r_drop * part * unlike)
        return found._replace(loss=found.loss + extra)

    def _perturbed(
        self, batch: Mapping[str, tf.Tensor], run: Callable[[], Losses], part: float | tf.Tensor
    ) -> tuple[Losses, float | tf.Tensor]:
        """Return the losses of a first pass, and the weighted ones of passes with perturbations."""
        if not (self.adversarial or self.virtual_adversarial):
            return run(), 0.0
        embedding = self.task.training.embedding(self.model)
        with Pass(self.model, embedding, batch["lengths"], norm=self.norm) as first:
            found = run()
        extra = 0.0
        if self.adversarial:
            extra += self.adversarial * first.adversarial_loss(found.loss, lambda: run().loss)
        if self.virtual_adversarial:
            unlike = first.virtual_adversarial_loss(_scores(found), lambda: _scores(run()), self.seed)
            extra += self.virtual_adversarial * part * self._with_unlabelled(unlike, batch)
        return found, extra

    def _with_unlabelled(self, unlike: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the mean virtual adversarial loss of the rows of a batch and of its texts without labels."""
        texts = {name.removeprefix(PREFIX): value for name, value in batch.items() if name.startswith(PREFIX)}
        if not texts:
            return unlike

        def run() -> Scores:
            return self.task.training.scores(self.model, texts)

        embedding = self.task.training.embedding(self.model)
        with Pass(self.model, embedding, texts["lengths"], norm=self.norm) as first:
            scores = run()
        of_texts = first.virtual_adversarial_loss(scores, run, self.seed)
        labelled, others = (tf.cast(tf.size(of["lengths"]), tf.float32) for of in (batch, texts))
        return (labelled * unlike + others * of_texts) / (labelled + others)

    def _mixing(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the row that each row is mixed with, int32 [B], and the share of its own, float32 [B]."""
        order = tf.argsort(keras.random.uniform([rows], seed=self.seed))
        return {
            "partners": order,
            "shares": keras.random.beta([rows], self.mixup, self.mixup, seed=self.seed),
        }


def _scores(losses: Losses) -> Scores:
    assert losses.scores is not None, "the task computes no scores"
    return losses.scores
