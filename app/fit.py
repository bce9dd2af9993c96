"""The training loop of every task: steps, clipping, validation, early stopping, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from app.config import Config, TrainingConfig
from app.run import METRICS, MODEL, TENSORBOARD, replaced, write_text
from app.state import Progress, Sums, restore_state, save_state
from app.tasks.base import Task
from data.batching import epoch_batches, sorted_batches, steps_per_epoch
from data.encoding import EncodedSplit
from data.errors import UserError

PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 1
MOMENTUM = 0.9
FINAL_RATE = 0.02
"""Where the cosine schedule ends, as a share of the highest rate."""


class Watcher(Protocol):
    """Who is told of a training's course."""

    def step(self, progress: Progress, steps: int, figures: dict[str, float]) -> None:
        """After each step: its number is `progress.step` of `steps`."""

    def epoch(self, record: dict[str, Any]) -> None:
        """After each epoch, with its line of metrics.jsonl."""


class Interrupted(Exception):
    """The training was asked to stop; its state is on disk."""


def build_optimizer(training: TrainingConfig, total_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule.

    `cosine` (Loshchilov and Hutter 2017) rises linearly from 0, then falls; the others start at the
    highest rate.
    """
    rate: Any = training.learning_rate
    if training.schedule == "cosine":
        warmup = round(training.warmup * total_steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(total_steps - warmup, 1),
            alpha=FINAL_RATE,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    options = {"learning_rate": rate, "weight_decay": training.weight_decay or None}
    optimizers = keras.optimizers
    if training.optimizer == "sgd":
        return optimizers.SGD(momentum=MOMENTUM, **options)
    if training.optimizer == "rmsprop":
        return optimizers.RMSprop(**options)
    if training.optimizer == "adamw":
        return optimizers.AdamW(**(options | {"weight_decay": training.weight_decay}))
    return optimizers.Adam(**options)


def clip(
    gradients: list[tf.Tensor], training: TrainingConfig
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Clips gradients (Pascanu et al. 2013).

    Args:
        gradients: dense, one for each variable.
        training: `clip_value` limits each element; else `clip_norm` limits the global norm.

    Returns:
        the clipped gradients, their global norm before clipping, and whether they were clipped.
    """
    norm = tf.linalg.global_norm(gradients)
    if training.clip_value:
        limit = training.clip_value
        largest = tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in gradients])
        return [tf.clip_by_value(g, -limit, limit) for g in gradients], norm, largest > limit
    if training.clip_norm:
        clipped, _ = tf.clip_by_global_norm(gradients, training.clip_norm, use_norm=norm)
        return clipped, norm, norm > training.clip_norm
    return gradients, norm, tf.constant(False)


class Fit:
    """One training, from where it stands to its end."""

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        config: Config,
        *,
        train: EncodedSplit,
        validation: EncodedSplit,
        run: Path,
        watcher: Watcher,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepares the training.

        Args:
            task: gives loss and metrics.
            model: token ids and lengths to logits.
            config: resolved.
            train: rows to learn from.
            validation: rows that decide which epoch was the best.
            run: the run directory.
            watcher: is told of each step and epoch.
            should_stop: asked after each step; True writes the state and raises `Interrupted`.
        """
        self.task = task
        self.model = model
        self.config = config
        self.train = train
        self.validation = validation
        self.run = run
        self.watcher = watcher
        self.should_stop = should_stop
        self.steps = steps_per_epoch(len(train), config.training.batch_size)
        self.weights = task.row_weights(train.targets, config)
        self.optimizer = build_optimizer(config.training, self.steps * config.training.epochs)
        self.optimizer.build(model.trainable_variables)
        self._train_step = self._build_train_step()
        self._logits = tf.function(
            lambda ids, lengths: model(ids, lengths, training=False),
            input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)],
            autograph=False,
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """All that changes in training: weights, seed generators, the optimizer's slots and step."""
        return [*self.model.variables, *self.optimizer.variables]

    def _build_train_step(self) -> tf.types.experimental.PolymorphicFunction:
        training = self.config.training
        variables = self.model.trainable_variables

        def train_step(
            ids: tf.Tensor, lengths: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                logits = self.model(ids, lengths, training=True)
                losses = self.task.loss(logits, targets, label_smoothing=training.label_smoothing)
                loss = tf.reduce_mean(losses * weights)
            # Dense, so that the norm counts a token that stands twice in a batch once, with its sum.
            gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
            gradients, norm, clipped = clip(gradients, training)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            hits = tf.reduce_sum(self.task.hits(logits, targets))
            return loss, hits, norm, clipped

        return tf.function(
            train_step,
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, *self.train.targets.shape[1:]], self.train.targets.dtype),
                tf.TensorSpec([None], tf.float32),
            ],
            autograph=False,
        )

    def __call__(self) -> Progress:
        """Trains to the end; the best weights are then in the run directory.

        Raises:
            Interrupted: `should_stop` said so; the state is written.
            UserError: the loss is not finite.
        """
        progress = restore_state(self.run, self.variables) or Progress()
        self._write_metrics(progress)
        with tf.summary.create_file_writer(str(self.run / TENSORBOARD)).as_default():
            while not progress.finished:
                self._epoch(progress)
                record = self._end_epoch(progress)
                save_state(self.run, self.variables, progress)
                self.watcher.epoch(record)
                if self.should_stop() and not progress.finished:
                    raise Interrupted
        return progress

    def _epoch(self, progress: Progress) -> None:
        training = self.config.training
        batches = epoch_batches(
            self.train.lengths, batch_size=training.batch_size, seed=self.config.seed, epoch=progress.epoch
        )
        for rows in batches[progress.step :]:
            started = time.perf_counter()
            ids, lengths = self.train.batch(rows)
            loss, hits, norm, clipped = (
                float(value)
                for value in self._train_step(ids, lengths, self.train.targets[rows], self.weights[rows])
            )
            progress.step += 1
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise UserError(self._explain_not_finite(progress, loss, norm))
            sums = progress.sums
            sums.loss += loss * len(rows)
            sums.hits += hits
            sums.rows += len(rows)
            sums.tokens += int(lengths.sum())
            sums.steps += 1
            sums.clipped += int(clipped)
            sums.norm += norm
            sums.largest_norm = max(sums.largest_norm, norm)
            sums.seconds += time.perf_counter() - started
            self.watcher.step(progress, self.steps, self._figures(progress))
            every = training.steps_per_checkpoint
            if every and progress.step % every == 0 and progress.step < self.steps:
                progress.metrics.append(self._record(progress))
                self._write_metrics(progress)
                save_state(self.run, self.variables, progress)
            if self.should_stop() and progress.step < self.steps:
                save_state(self.run, self.variables, progress)
                raise Interrupted

    def _end_epoch(self, progress: Progress) -> dict[str, Any]:
        training = self.config.training
        validation = self.evaluate(self.validation)
        if not math.isfinite(validation["loss"]):
            norm = progress.sums.largest_norm
            raise UserError(self._explain_not_finite(progress, validation["loss"], norm))
        record = self._record(progress) | {f"validation_{name}": value for name, value in validation.items()}
        figure = validation[training.early_stopping_metric]
        score = [-figure if training.early_stopping_metric == "loss" else figure, -validation["loss"]]
        if progress.best is None or score > progress.best:
            progress.best, progress.best_epoch = score, progress.epoch
            progress.stale_epochs = progress.plateau_epochs = 0
            with replaced(self.run / MODEL) as beside:
                self.model.save(beside)
        else:
            progress.stale_epochs += 1
            progress.plateau_epochs += 1
        record["best"] = progress.best_epoch == progress.epoch
        if training.schedule == "plateau" and progress.plateau_epochs > PLATEAU_PATIENCE:
            self.optimizer.learning_rate = float(self.optimizer.learning_rate) * PLATEAU_FACTOR
            progress.plateau_epochs = 0
        progress.metrics.append(record)
        self._write_metrics(progress)
        self._write_summaries(record)
        progress.epoch += 1
        progress.step = 0
        progress.sums = Sums()
        patience = training.early_stopping_patience
        progress.finished = progress.epoch >= training.epochs or bool(
            patience and progress.stale_epochs >= patience
        )
        return record

    def evaluate(self, split: EncodedSplit) -> dict[str, float]:
        """Loss (nats a row) and the task's figures of a split, with the present weights."""
        logits: np.ndarray | None = None
        loss = 0.0
        for rows in sorted_batches(split.lengths, batch_size=2 * self.config.training.batch_size):
            scores = self._logits(*split.batch(rows))
            loss += float(tf.reduce_sum(self.task.loss(scores, split.targets[rows])))
            if logits is None:
                logits = np.zeros((len(split), *scores.shape[1:]), np.float32)
            logits[rows] = scores
        assert logits is not None
        return {"loss": loss / len(split), **self.task.validation_metrics(logits, split.targets)}

    def _figures(self, progress: Progress) -> dict[str, float]:
        sums = progress.sums
        return {
            "loss": sums.loss / sums.rows,
            self.task.metric: sums.hits / sums.rows,
            "examples_per_second": sums.rows / max(sums.seconds, 1e-9),
        }

    def _record(self, progress: Progress) -> dict[str, Any]:
        sums = progress.sums
        return {
            "epoch": progress.epoch + 1,
            "step": progress.epoch * self.steps + progress.step,
            **self._figures(progress),
            "tokens_per_second": sums.tokens / max(sums.seconds, 1e-9),
            "gradient_norm": sums.norm / sums.steps,
            "gradient_norm_max": sums.largest_norm,
            "clipped_share": sums.clipped / sums.steps,
            "learning_rate": float(self.optimizer.learning_rate),
        }

    def _write_metrics(self, progress: Progress) -> None:
        write_text(self.run / METRICS, "".join(f"{json.dumps(line)}\n" for line in progress.metrics))

    def _write_summaries(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name not in ("epoch", "step"):
                tf.summary.scalar(name, value, step=record["step"])

    def _explain_not_finite(self, progress: Progress, loss: float, norm: float) -> str:
        training = self.config.training
        remedies = [f"a lower training.learning_rate than {training.learning_rate:g}"]
        if training.clip_value:
            remedies.append("training.clip_norm=1.0 with training.clip_value=0")
        elif not training.clip_norm:
            remedies.append("training.clip_norm=1.0")
        if self.config.model.activation == "relu":
            remedies.append("model.activation=tanh")
        if training.mixed_precision:
            remedies.append("training.mixed_precision=false")
        return (
            f"the loss is not finite: {loss} at step {progress.step} of epoch {progress.epoch + 1}, "
            f"gradient norm {norm}; try {', or '.join(remedies)}"
        )
