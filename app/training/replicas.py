"""Replicas of a network, which share the rows of each training step.

Each of them computes the sums of loss and gradients of its part of the rows. Their sums over all replicas are
those of the whole batch; from them each worker makes the same update, and so has the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.config import TaskConfig
from app.tasks.base import Task
from app.training.objective import Objective
from app.training.workers import Alone
from data.batching import Batches, part_bounds, part_of


@dataclass(frozen=True)
class Rows:
    """What the replicas of this process read in a step."""

    arrays: list[dict[str, np.ndarray]]
    """Of a batch, for each replica."""
    sizes: np.ndarray
    """float32 [replicas, 3]: rows and tokens of each, and 1; zeros for a replica that has none: its arrays
    are of a row of another one, which does not count."""


@dataclass(frozen=True)
class Sums:
    """What all replicas together have computed in a step."""

    gradients: list[tf.Tensor]
    """Dense, of the loss of the whole batch, by each trainable variable."""
    loss: tf.Tensor
    correct: tf.Tensor
    count: tf.Tensor
    """As of `Losses`."""
    sizes: tf.Tensor
    """float32 [2]: rows and tokens."""
    stops: tf.Tensor
    """float32 []: how many workers have been asked to stop."""


@dataclass
class _Replica:
    device: str | None
    model: keras.Model
    objective: Objective
    carried: Sequence[tf.Variable]
    """Of its rows."""
    bounds: tuple[int, int]
    """The first of its rows of `Training.carried`, and the first one after them."""

    def on_device(self) -> Any:
        return tf.device(self.device) if self.device else nullcontext()


class Replicas:
    """The replicas of this process. The first one is the network that is trained; the others are copies."""

    def __init__(
        self,
        task: Task[Any, Any],
        models: Sequence[keras.Model],
        config: TaskConfig,
        carried: Sequence[tf.Variable],
        *,
        workers: Alone,
        devices: Sequence[str | None],
    ) -> None:
        """Prepare.

        Args:
            task: gives the loss.
            models: the network, and a copy for each other device.
            config: resolved.
            carried: as of `Training.losses`, of all rows.
            workers: the processes that train together.
            devices: one for each model.
        """
        self.workers, self.carried = workers, carried
        self.number = workers.number * len(models)
        """Number of replicas of all workers."""
        self._task = task
        self._first = workers.rank * len(models)
        self.replicas = []
        for i, (device, model) in enumerate(zip(devices, models, strict=True)):
            own, bounds = carried, (0, 0)
            with tf.device(device) if device else nullcontext():
                if carried and self.number > 1:
                    bounds = part_bounds(carried[0].shape[0], self._first + i, self.number)
                    own = [tf.Variable(_rows(full, bounds), trainable=False) for full in carried]
                objective = Objective(task, model, config, own)
            self.replicas.append(_Replica(device, model, objective, own, bounds))

    @property
    def objective(self) -> Objective:
        """That of the network."""
        return self.replicas[0].objective

    def rows(self, batches: Batches) -> Callable[[Any], Rows]:
        """Return a function from the entry of a step to what the replicas of this process read."""

        def made(entry: Any) -> Rows:
            arrays, sizes = [], []
            for number in range(self._first, self._first + len(self.replicas)):
                own = entry if self.number == 1 else part_of(entry, number, self.number)
                is_real = _has_rows(own)
                batch = batches.batch(own if is_real else part_of(entry, 0, _number_of_rows(entry)))
                arrays.append(batch.arrays)
                sizes.append((batch.rows, batch.tokens, 1) if is_real else (0, 0, 0))
            return Rows(arrays, np.array(sizes, np.float32))

        return made

    def compute(self, arrays: Sequence[Mapping[str, tf.Tensor]], sizes: tf.Tensor, stop: tf.Tensor) -> Sums:
        """Run the networks on the rows of a step, in a graph.

        Args:
            arrays: as of `Rows`.
            sizes: as of `Rows`.
            stop: float32 [], 1 if this worker has been asked to stop.
        """
        if self.number == 1:
            found, gradients = self._gradients(self.replicas[0], arrays[0])
            return Sums(gradients, found.loss, found.correct, found.count, sizes[0, :2], stop)
        counts = [tf.stack(self._task.training.counts(own)) * sizes[i, 2] for i, own in enumerate(arrays)]
        totals, stops = self.workers.add(tf.add_n(counts), stop)
        sums: list[list[tf.Tensor]] = []
        for i, (replica, own) in enumerate(zip(self.replicas, arrays, strict=True)):
            with replica.on_device():
                for variable, full in zip(replica.carried, self.carried, strict=True):
                    variable.assign(_rows(full, replica.bounds))
                parts = tf.unstack(tf.math.divide_no_nan(counts[i], totals))
                found, gradients = self._gradients(replica, own, parts)
                correct = tf.cast(found.correct, tf.float32) * sizes[i, 2]
                values = tf.stack([tf.cast(found.loss, tf.float32), correct, sizes[i, 0], sizes[i, 1]])
                after = [
                    _padded(variable * sizes[i, 2], replica.bounds, full.shape[0])
                    for variable, full in zip(replica.carried, self.carried, strict=True)
                ]
                sums.append([values, *after, *gradients])
        with self.replicas[0].on_device():
            values, *others = self.workers.add(*map(tf.add_n, zip(*sums, strict=True)))
            for full, value in zip(self.carried, others, strict=False):
                full.assign(value)
        loss, correct = values[0], values[1]
        return Sums(others[len(self.carried) :], loss, correct, totals[0], values[2:], stops)

    def spread(self) -> None:
        """Give the copies the weights of the network, in a graph."""
        for replica in self.replicas[1:]:
            for weight, copy in self._pairs(replica, "trainable_variables"):
                copy.assign(weight)

    def align(self, variables: Sequence[Any]) -> None:
        """Give all replicas the state that the chief has.

        Only their random numbers differ: with the same ones, replicas would drop the same units.

        Args:
            variables: of the training.
        """
        if self.number == 1:
            return
        self.workers.align(variables)
        for replica in self.replicas[1:]:
            for variable, copy in self._pairs(replica, "variables"):
                copy.assign(variable)
        for number, replica in enumerate(self.replicas, self._first):
            for seed in self._seeds(replica) if number else ():  # the first one is that of checkpoints
                state = np.array(seed)
                state[0] += number
                seed.assign(state)

    def _gradients(
        self, replica: _Replica, arrays: Mapping[str, tf.Tensor], parts: Sequence[tf.Tensor] = ()
    ) -> tuple[Any, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            found = replica.objective.losses(arrays, parts)
        variables = replica.model.trainable_variables
        # Dense, so that the norm counts a token that occurs twice in a batch once, with its sum.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(found.loss, variables)]
        for gradient, variable in zip(gradients, variables, strict=True):
            gradient.set_shape(variable.shape)  # which not every operation tells, and `add` needs
        return found, gradients

    def _pairs(self, replica: _Replica, name: str) -> list[tuple[Any, Any]]:
        first = self.replicas[0]
        pairs = list(zip(getattr(first.model, name), getattr(replica.model, name), strict=True))
        if name == "variables":
            pairs += zip(first.objective.variables, replica.objective.variables, strict=True)
        return pairs

    @staticmethod
    def _seeds(replica: _Replica) -> list[Any]:
        weights = {id(weight) for weight in replica.model.weights}
        own = [variable for variable in replica.model.variables if id(variable) not in weights]
        return [*own, *replica.objective.variables]


def _rows(full: tf.Variable, bounds: tuple[int, int]) -> tf.Tensor:
    """Return the rows of a replica; the first one if it has none."""
    first, last = bounds
    return full[first:last] if last > first else full[:1]


def _padded(own: tf.Tensor, bounds: tuple[int, int], rows: int) -> tf.Tensor:
    """Return the rows of a replica among all rows: those of the others are 0."""
    first, last = bounds
    if last == first:
        return tf.pad(own, [[0, rows - 1], [0, 0]])
    return tf.pad(own, [[first, rows - last], [0, 0]])


def _number_of_rows(entry: Any) -> int:
    if isinstance(entry, np.ndarray):
        return len(entry)
    return next(len(value) for value in entry if isinstance(value, np.ndarray))


def _has_rows(entry: Any) -> bool:
    return bool(_number_of_rows(entry))
