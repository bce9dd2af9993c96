"""The training loop of every task, as a generator of events.

It computes, and leaves files, messages and stopping to the caller.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.allocator import keep_freed_memory
from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig
from app.metrics import ACCURACY, Metric
from app.tasks.base import Task
from app.training.average import WeightAverage
from app.training.events import DivergedError, Epoch, Step
from app.training.gradients import PREFIX, GradientNorms
from app.training.optimizer import build_optimizer, clip
from app.training.replicas import Replicas, Rows
from app.training.selection import Selection
from app.training.state import Totals, TrainingState, log
from app.training.workers import Alone
from data.batching import Batches, made_ahead

PLATEAU_FACTOR = 0.5


class Fit:
    """The training of one model."""

    def __init__(
        self,
        task: Task[Any, Any],
        model: keras.Model,
        config: TaskConfig,
        *,
        metric: Metric,
        train: Batches,
        validation: Batches,
        preprocessing: Preprocessing[Any],
        workers: Alone | None = None,
        copies: Sequence[tuple[str | None, keras.Model]] = (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Build optimizer and graphs.

        Args:
            task: gives loss and metrics.
            model: maps the arrays of a batch to logits.
            config: resolved.
            metric: selects the best epoch.
            train: training batches.
            validation: validation batches.
            preprocessing: of the run.
            workers: the processes that train together; None: this one alone.
            copies: the other devices of this process, each with a network like `model`.
            should_stop: whether this worker has been asked to stop; all of them then do, see `stops`.
        """
        self.workers = workers or Alone()
        self.should_stop = should_stop
        self.stops = False
        """Whether a worker had been asked to stop before the last step."""
        self.task = task
        self.model = model
        self.config = config
        self.metric = metric
        self.metrics = task.training.metrics(preprocessing)
        self.train = train
        self.state = TrainingState()
        self.usual_norm = 0.0
        """That of `Totals` in the last epoch."""
        first = train.epoch(config.seed, 0)
        self.steps = len(first)
        self.optimizer = build_optimizer(config.training, self.steps * config.training.epochs)
        self.optimizer.build(model.trainable_variables)
        self.average = WeightAverage(model, config.training.ema)
        self.carried = task.training.carried(model, train)
        self.replicas = Replicas(
            task, [model, *(copy for _, copy in copies)], config, self.carried,
            workers=self.workers, devices=[None, *(device for device, _ in copies)],
        )  # fmt: skip
        self.norms = GradientNorms(model, self.steps)
        self._train_step = self._graph(self.replicas.rows(train)(first[0]))
        self._evaluate = task.training.evaluator(model, validation, preprocessing, config)

    @property
    def variables(self) -> list[Any]:
        """All variables that training changes.

        Weights, seed generators, slots and step of the optimizer, the average of the weights, and what a step
        hands to the next one.
        """
        return [
            *self.model.variables,
            *self.optimizer.variables,
            *self.average.variables,
            *self.replicas.objective.variables,
            *self.carried,
        ]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.learning_rate)

    def events(self) -> Generator[Step | Epoch, None, None]:
        """Train from `state` to the end.

        When an event is yielded, `state` and `variables` include it: the caller may save them, and close the
        generator.

        Raises:
            DivergedError: the loss is not finite.
            UserError: another worker was lost.
        """
        keep_freed_memory()
        try:
            self._share_state()
            while not self.state.finished:
                yield from self._steps()
                yield self._end_epoch()
        except tf.errors.OpError as error:
            where = f"in epoch {self.state.epoch + 1}, after {self.state.step} of {self.steps} steps"
            raise self.workers.explain(error, where) from None

    def resume(self, state: TrainingState) -> None:
        """Continue from a state, which another number of epochs or another patience may have ended."""
        self.state = state
        self._set_finished()

    def _share_state(self) -> None:
        """Let each worker begin where the chief does."""
        if self.workers.number == 1:
            return
        told = self.workers.from_chief(lambda: asdict(self.state))
        totals, selection = Totals(**told.pop("totals")), Selection(**told.pop("selection"))
        self.state = TrainingState(**told, totals=totals, selection=selection)

    def _set_finished(self) -> None:
        state, training = self.state, self.config.training
        ended = state.epoch >= training.epochs or state.selection.stops(training.early_stopping_patience)
        state.finished = state.epoch > 0 and state.step == 0 and ended

    def _graph(self, rows: Rows) -> Callable[..., tf.Tensor]:
        """Return the graph of a step, traced once for batches of any size."""
        arrays = [
            {name: tf.TensorSpec([None] * array.ndim, array.dtype, name) for name, array in own.items()}
            for own in rows.arrays
        ]
        signature = [arrays, tf.TensorSpec(rows.sizes.shape, tf.float32), tf.TensorSpec([], tf.float32)]
        graph: Callable[..., tf.Tensor] = tf.function(self._step, input_signature=signature, autograph=False)
        return graph

    def _step(
        self, arrays: Sequence[Mapping[str, tf.Tensor]], sizes: tf.Tensor, stop: tf.Tensor
    ) -> tf.Tensor:
        variables = self.model.trainable_variables
        found = self.replicas.compute(arrays, sizes, stop)
        norms = self.norms.measure(found.gradients, self.optimizer.iterations.value)
        gradients, norm, clipped, after = clip(found.gradients, self.config.training)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.average.update(self.optimizer.iterations.value)
        self.replicas.spread()
        # One tensor, which is fetched at once.
        values = [found.loss, found.correct, found.count, *tf.unstack(found.sizes), found.stops]
        values = [tf.cast(value, tf.float32) for value in (*values, norm, clipped, after)]
        return tf.concat([values, norms], axis=0)

    def _steps(self) -> Generator[Step, None, None]:
        state, every = self.state, self.config.training.steps_per_checkpoint
        entries = self.train.epoch(self.config.seed, state.epoch)
        if not state.step:
            for variable in self.carried:
                variable.assign(tf.zeros_like(variable))
        self.replicas.align(self.variables)
        with closing(made_ahead(self.replicas.rows(self.train), entries[state.step :])) as rows:
            while state.step < len(entries):
                self._add_step(rows)
                record = None
                if every and state.step % every == 0 and state.step < len(entries):
                    record = self._record()
                    state.history.append(record)
                yield Step(state.epoch + 1, state.step, len(entries), self._metrics(), record)

    def _add_step(self, batches: Iterator[Rows]) -> None:
        started = time.perf_counter()
        batch = next(batches)
        stop = np.float32(self.should_stop())
        found = self._train_step(batch.arrays, batch.sizes, stop).numpy().tolist()
        loss, correct, count, rows, tokens, stops, norm, clipped, after, measured, *norms = found
        self.stops = bool(stops)
        self.state.step += 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(self._explain_not_finite(loss, norm))
        totals = self.state.totals
        totals.loss += loss * count
        totals.correct += correct
        totals.count += count
        totals.examples += int(rows)
        totals.tokens += int(tokens)
        totals.steps += 1
        totals.clipped += int(clipped)
        totals.norm += norm
        totals.norm_after += after
        totals.log_norm += log(norm)
        if measured:
            totals.measured += 1
            for name, value in zip(self.norms.names, norms, strict=True):
                totals.layer_norms[name] = totals.layer_norms.get(name, 0.0) + value
        totals.largest_norm = max(totals.largest_norm, norm)
        totals.seconds += time.perf_counter() - started

    def _end_epoch(self) -> Epoch:
        state, training = self.state, self.config.training
        started = time.perf_counter()
        validation = self.workers.from_chief(self._validate)
        seconds = time.perf_counter() - started
        if not math.isfinite(validation["loss"]):
            raise DivergedError(self._explain_not_finite(validation["loss"], state.totals.largest_norm))
        record = self._record() | {f"validation_{name}": value for name, value in validation.items()}
        record["evaluation_seconds"] = seconds
        record["best"] = state.selection.add(state.epoch, self.metric, validation)
        if training.schedule == "plateau" and state.selection.reached_plateau():
            self.optimizer.learning_rate = float(self.optimizer.learning_rate) * PLATEAU_FACTOR
        self.usual_norm = state.totals.usual_norm()
        state.history.append(record)
        state.epoch += 1
        state.step = 0
        state.totals = Totals()
        self._set_finished()
        return Epoch(state.epoch, training.epochs, record, record["best"], self.metrics)

    def _validate(self) -> dict[str, float]:
        with self.average.applied():
            return {name: float(value) for name, value in self._evaluate().items()}

    def _metrics(self) -> dict[str, float]:
        totals = self.state.totals
        return {
            "loss": totals.loss / max(totals.count, 1),
            ACCURACY.name: totals.correct / max(totals.count, 1),
            "examples_per_second": totals.examples / max(totals.seconds, 1e-9),
        }

    def _record(self) -> dict[str, Any]:
        state, totals = self.state, self.state.totals
        return {
            "epoch": state.epoch + 1,
            "step": state.epoch * self.steps + state.step,
            **self._metrics(),
            "tokens_per_second": totals.tokens / max(totals.seconds, 1e-9),
            "gradient_norm": totals.norm / totals.steps,
            "gradient_norm_max": totals.largest_norm,
            "gradient_norm_clipped": totals.norm_after / totals.steps,
            "clipped_share": totals.clipped / totals.steps,
            "learning_rate": self.learning_rate,
            **{PREFIX + name: value / totals.measured for name, value in totals.layer_norms.items()},
        }

    def _explain_not_finite(self, loss: float, norm: float) -> str:
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
            f"the loss is not finite: {loss} at step {self.state.step} of epoch {self.state.epoch + 1}, "
            f"gradient norm {norm}; try {', or '.join(remedies)}"
        )
