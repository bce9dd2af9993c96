"""The training loop of every task: steps, clipping, validation, early stopping, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from app.artifacts.files import replaced, write_text
from app.artifacts.run import METRICS, MODEL, TENSORBOARD
from app.config import TaskConfig, TrainingConfig
from app.tasks.base import Task, Vocabularies, checked_metric, graph_of
from app.training.state import Progress, Sums, restore_state, save_state
from data.batching import Feed
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

    def say(self, message: str) -> None:
        """What else there is to tell."""


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
        task: Task[Any],
        model: keras.Model,
        config: TaskConfig,
        *,
        train: Feed,
        validation: Feed,
        vocabularies: Vocabularies,
        run: Path,
        watcher: Watcher,
        after_epoch: Callable[[], str] = lambda: "",
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepares the training.

        Args:
            task: gives loss and metrics.
            model: a batch's arrays to logits.
            config: resolved.
            train: rows to learn from.
            validation: rows that decide which epoch was the best.
            vocabularies: of the run.
            run: the run directory.
            watcher: is told of each step and epoch.
            after_epoch: what is printed beside an epoch's figures.
            should_stop: asked after each step; True writes the state and raises `Interrupted`.
        """
        self.task = task
        self.model = model
        self.config = config
        self.train = train
        self.run = run
        self.watcher = watcher
        self.after_epoch = after_epoch
        self.should_stop = should_stop
        self.metric = checked_metric(task, config)
        first = train.epoch(config.seed, 0)
        self.steps = len(first)
        self.optimizer = build_optimizer(config.training, self.steps * config.training.epochs)
        self.optimizer.build(model.trainable_variables)
        self.carried = task.carried(model, train)
        self._train_step = graph_of(self._step, train.batch(first[0]).arrays)
        self.evaluate = task.evaluator(model, validation, vocabularies, config)

    @property
    def variables(self) -> list[Any]:
        """All that changes in training.

        Weights, seed generators, the optimizer's slots and step, and what a step leaves to the next.
        """
        return [*self.model.variables, *self.optimizer.variables, *self.carried]

    def _step(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        training = self.config.training
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss, hits, count = self.task.losses(
                self.model, batch, self.carried, label_smoothing=training.label_smoothing
            )
        # Dense, so that the norm counts a token that stands twice in a batch once, with its sum.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        gradients, norm, clipped = clip(gradients, training)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, hits, count, norm, clipped

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
                if message := self.after_epoch():
                    self.watcher.say(message)
                if self.should_stop() and not progress.finished:
                    raise Interrupted
        return progress

    def _epoch(self, progress: Progress) -> None:
        training = self.config.training
        entries = self.train.epoch(self.config.seed, progress.epoch)
        if not progress.step:
            for variable in self.carried:
                variable.assign(tf.zeros_like(variable))
        for entry in entries[progress.step :]:
            started = time.perf_counter()
            batch = self.train.batch(entry)
            loss, hits, count, norm, clipped = (float(value) for value in self._train_step(batch.arrays))
            progress.step += 1
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise UserError(self._explain_not_finite(progress, loss, norm))
            sums = progress.sums
            sums.loss += loss * count
            sums.hits += hits
            sums.count += count
            sums.rows += batch.rows
            sums.tokens += batch.tokens
            sums.steps += 1
            sums.clipped += int(clipped)
            sums.norm += norm
            sums.largest_norm = max(sums.largest_norm, norm)
            sums.seconds += time.perf_counter() - started
            self.watcher.step(progress, len(entries), self._figures(progress))
            every = training.steps_per_checkpoint
            if every and progress.step % every == 0 and progress.step < len(entries):
                progress.metrics.append(self._record(progress))
                self._write_metrics(progress)
                save_state(self.run, self.variables, progress)
            if self.should_stop() and progress.step < len(entries):
                save_state(self.run, self.variables, progress)
                raise Interrupted

    def _end_epoch(self, progress: Progress) -> dict[str, Any]:
        training = self.config.training
        validation = self.evaluate()
        if not math.isfinite(validation["loss"]):
            norm = progress.sums.largest_norm
            raise UserError(self._explain_not_finite(progress, validation["loss"], norm))
        record = self._record(progress) | {f"validation_{name}": value for name, value in validation.items()}
        figure = validation[self.metric]
        score = [-figure if self.metric == "loss" else figure, -validation["loss"]]
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

    def _figures(self, progress: Progress) -> dict[str, float]:
        sums = progress.sums
        return {
            "loss": sums.loss / max(sums.count, 1),
            self.task.metric: sums.hits / max(sums.count, 1),
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
