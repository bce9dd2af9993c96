from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from trained import PLAIN, Weights, epoch_lines, same, weights

from app.artifacts.run import open_run
from app.config import TaskConfig
from app.export import export
from app.prediction.loading import load_keras_model
from app.tasks import get_task
from app.train import train
from app.training.average import WeightAverage
from app.verify import verify

Configured = Callable[..., TaskConfig]
StopAt = Callable[..., dict[str, Any]]


def state(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a training's state by the names of their variables."""
    with np.load(run / "checkpoints/state.npz") as saved:
        return {name.partition(":")[2]: saved[name] for name in saved.files if name != "progress"}


@pytest.fixture
def dense() -> keras.Model:
    """Return a network of a matrix and a bias."""
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])


def test_the_average_after_each_step(dense: keras.Model) -> None:
    """The decay rises to the one that is configured; after 64 steps every eighth step counts eightfold."""
    decay = 0.9
    average = WeightAverage(dense, decay)
    update = tf.function(average.update)
    expected = [value.copy() for value in dense.get_weights()]
    for step in range(1, 97):
        for variable in dense.trainable_variables:
            variable.assign_add(tf.ones_like(variable) * (step % 3))
        update(tf.constant(step, tf.int64))
        d = min(decay, (1 + step) / (10 + step))
        d = d if step <= 64 else d**8 if step % 8 == 0 else 1.0
        expected = [d * old + (1 - d) * new for old, new in zip(expected, dense.get_weights(), strict=True)]

        for found, value in zip(average.variables, expected, strict=True):
            np.testing.assert_allclose(found.numpy(), value, rtol=1e-5)


def test_the_average_is_applied_for_a_while(dense: keras.Model) -> None:
    """The network has the average within the context, and exactly its own weights afterwards."""
    average = WeightAverage(dense, 0.9)
    for variable in average.variables:
        variable.assign_add(tf.ones_like(variable))
    before = dense.get_weights()

    with average.applied():
        inside = dense.get_weights()

    assert same(inside, [variable.numpy() for variable in average.variables])
    assert not same(inside, before)
    assert same(dense.get_weights(), before)


def test_a_decay_of_0_averages_nothing(dense: keras.Model) -> None:
    """There are no variables then, and the network keeps its weights."""
    average = WeightAverage(dense, 0.0)
    before = dense.get_weights()
    average.update(tf.constant(1))

    assert average.variables == []
    with average.applied():
        assert same(dense.get_weights(), before)


def test_the_average_is_validated_and_kept(
    configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation and model.keras have the average; training goes on with the weights."""
    seen: list[Weights] = []

    def evaluator(_: object, model: keras.Model, *__: object) -> Callable[[], dict[str, float]]:
        def evaluate() -> dict[str, float]:
            seen.append([v.numpy() for v in model.trainable_variables])
            return {"loss": 1 / len(seen), "accuracy": 0.5, "macro_f1": 0.5}

        return evaluate

    monkeypatch.setattr(type(get_task("classification").training), "evaluator", evaluator)
    config = configured(*PLAIN, "training.ema=0.9", "training.learning_rate=0.05", "training.epochs=2")
    run = train("classification", str(reviews), config, run=tmp_path / "run").path
    plain = train(
        "classification",
        str(reviews),
        configured(*PLAIN, "training.learning_rate=0.05", "training.epochs=2"),
        run=tmp_path / "plain",
    ).path

    kept = [v.numpy() for v in load_keras_model(open_run(run)).trainable_variables]
    saved = state(run)
    averages = [saved[f"average_{i}:0"] for i in range(len(kept))]
    assert same(kept, seen[1])
    assert same(kept, averages)
    assert not same(kept, seen[0])
    assert not same(kept, seen[3])
    last = {name: value for name, value in state(plain).items() if name in saved}
    assert all(np.array_equal(saved[name], value) for name, value in last.items())


AWD = ("model.locked_dropout=true", "model.weight_dropout=0.2", "model.recurrent_dropout=0.1")
TECHNIQUES = {
    "ema": ("classification", ("training.ema=0.9",)),
    "locked_dropout": ("classification", ("model.locked_dropout=true",)),
    "adversarial": ("classification", ("training.adversarial=1",)),
    "virtual_adversarial": ("classification", ("training.virtual_adversarial=1", "training.kernels=keras")),
    "mixup": ("classification", ("training.mixup=0.5",)),
    "r_drop": ("classification", ("training.r_drop=1",)),
    "all": (
        "classification",
        (
            *("training.ema=0.9", "model.locked_dropout=true", "training.adversarial=1"),
            *("training.virtual_adversarial=1", "training.mixup=0.5", "training.r_drop=1"),
        ),
    ),
}


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_exact_resuming(
    configured: Configured, reviews: Path, tmp_path: Path, stop_at: StopAt, technique: str
) -> None:
    """Stopped and resumed, a training ends at the same weights and metrics."""
    task, options = TECHNIQUES[technique]
    config = configured(
        *("training.deterministic=true", "training.epochs=2", "training.learning_rate=0.02"),
        *("model.recurrent_dropout=0.2", "training.early_stopping_patience=0", *options),
    )
    whole = train(task, str(reviews), config, run=tmp_path / "whole").path
    stopped = train(task, str(reviews), config, run=tmp_path / "run", **stop_at(epoch=2, step=2))
    run = train(task, str(reviews), config, run=tmp_path / "run", resume=True).path

    assert not stopped.finished
    assert same(weights(run), weights(whole))
    assert epoch_lines(run) == epoch_lines(whole)
    first, second = state(run), state(whole)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    if technique == "all":
        assert verify(export(run, output=tmp_path / "export")).passed
