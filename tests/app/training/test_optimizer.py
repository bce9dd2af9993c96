from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from trained import PLAIN, metrics

from app.config import TaskConfig, TrainingConfig
from app.train import train
from app.training.optimizer import build_optimizer, clip

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


def gradients(random: np.random.Generator) -> list[np.ndarray]:
    """Return the gradients of three variables."""
    return [random.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3,), (2, 2, 2))]


def clipped_by(values: Sequence[np.ndarray], **options: float) -> tuple[list[np.ndarray], float, bool]:
    """Clip as a configuration with these options says."""
    found, norm, was_clipped, after = clip([tf.constant(v) for v in values], TrainingConfig(**options))
    assert float(after) == pytest.approx(float(tf.linalg.global_norm(found)), rel=1e-5)
    return [v.numpy() for v in found], float(norm), bool(was_clipped)


def test_clipping_by_norm() -> None:
    """All gradients shrink by one factor so that their global norm is the limit."""
    values = gradients(np.random.default_rng(0))
    norm = math.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in values))

    found, reported, was_clipped = clipped_by(values, clip_norm=0.5)

    assert norm > 2
    assert reported == pytest.approx(norm, rel=1e-6)
    assert was_clipped
    for before, after in zip(values, found, strict=True):
        np.testing.assert_allclose(after, before * (0.5 / norm), rtol=1e-5)


def test_gradients_within_the_norm_stay() -> None:
    """A gradient whose norm is below the limit is left alone."""
    values = gradients(np.random.default_rng(0))

    found, reported, was_clipped = clipped_by(values, clip_norm=100)

    assert not was_clipped
    assert reported < 100
    for before, after in zip(values, found, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)


def test_clipping_by_value() -> None:
    """Each element is cut at the limit, in place of the norm; the norm is that before."""
    values = gradients(np.random.default_rng(0))
    norm = math.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in values))

    found, reported, was_clipped = clipped_by(values, clip_norm=1e-3, clip_value=0.3)

    assert was_clipped
    assert reported == pytest.approx(norm, rel=1e-6)
    for before, after in zip(values, found, strict=True):
        np.testing.assert_array_equal(after, np.clip(before, np.float32(-0.3), np.float32(0.3)))
    assert not clipped_by(values, clip_value=100)[2]


def test_no_clipping() -> None:
    """With both limits at 0 gradients stay, however large; their norm is still known."""
    values = [1e6 * v for v in gradients(np.random.default_rng(0))]

    found, reported, was_clipped = clipped_by(values, clip_norm=0, clip_value=0)

    assert not was_clipped
    assert reported > 1e6
    assert all(map(np.array_equal, found, values))


def test_a_zero_gradient() -> None:
    """Nothing is divided by a norm of 0."""
    found, reported, was_clipped = clipped_by([np.zeros((2, 2), np.float32)], clip_norm=1)

    assert (found[0].tolist(), reported, was_clipped) == ([[0, 0], [0, 0]], 0, False)


def test_cosine_schedule(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """The rate rises along a line, then falls along a cosine to a fiftieth, over all steps."""
    config = configured(
        *PLAIN,
        "training.batch_size=2",
        "training.schedule=cosine",
        "training.warmup=0.25",
        "training.learning_rate=0.004",
        "training.steps_per_checkpoint=1",
    )

    run = train("classification", str(reviews), config, run=tmp_path / "run").path

    rates = [line["learning_rate"] for line in metrics(run)]
    fall = [0.5 * (1 + math.cos(math.pi * step / 15)) for step in range(16)]
    assert rates[:5] == pytest.approx([0.004 * step / 5 for step in range(1, 6)])
    assert rates[4:] == pytest.approx([0.004 * (0.02 + 0.98 * share) for share in fall])


REFERENCES: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": functools.partial(keras.optimizers.SGD, momentum=0.9),
}


def after_forty_steps(make: Callable[[], keras.optimizers.Optimizer]) -> dict[str, np.ndarray]:
    """Return weights and state of an optimizer by name, after steps with gradients of different sizes."""
    keras.utils.clear_session()
    initial = gradients(np.random.default_rng(1))
    weights = [keras.Variable(value, name=f"w{i}") for i, value in enumerate(initial)]
    optimizer = make()
    optimizer.build(weights)
    step = tf.function(
        lambda *found: optimizer.apply_gradients(zip(found, weights, strict=True)), autograph=False
    )
    random = np.random.default_rng(2)
    for _ in range(40):
        found = [v * np.float32(10 ** random.uniform(-3, 2)) for v in gradients(random)]
        found[0][random.random(5) < 0.6] = 0
        step(*map(tf.constant, found))
    return {variable.path: variable.numpy() for variable in [*weights, *optimizer.variables]}


@pytest.mark.parametrize(
    ("name", "schedule", "decay"),
    [
        ("adam", "constant", 0.0),
        ("adam", "cosine", 0.01),
        ("adamw", "constant", 0.01),
        ("sgd", "cosine", 0.01),
    ],
)
def test_as_keras(name: str, schedule: str, decay: float) -> None:
    """Weights, state and names of variables are those of Keras's optimizer, over forty steps.

    Some rows of a gradient are zeros, as in that of an embedding.
    """
    training = TrainingConfig(optimizer=name, schedule=schedule, weight_decay=decay, learning_rate=0.003)
    rate: Any = training.learning_rate
    if schedule == "cosine":
        warmup = round(training.warmup * 40)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, 40 - warmup, alpha=0.02, warmup_target=rate, warmup_steps=warmup
        )
    decays = {"weight_decay": decay if name == "adamw" else decay or None}
    ours = after_forty_steps(lambda: build_optimizer(training, 40))
    reference = after_forty_steps(lambda: REFERENCES[name](learning_rate=rate, **decays))

    assert list(ours) == list(reference)
    for path, value in reference.items():
        np.testing.assert_allclose(ours[path], value, rtol=3e-5, atol=2e-6, err_msg=path)
        if name == "sgd":
            np.testing.assert_allclose(ours[path], value, rtol=2e-6, atol=1e-7, err_msg=path)


def test_a_schedule_without_a_formula() -> None:
    """The learning rate of the plateau schedule can be lowered between two calls of one graph."""
    optimizer = build_optimizer(TrainingConfig(schedule="plateau", learning_rate=0.1, clip_norm=0), 10)
    weights = keras.Variable([1.0])
    optimizer.build([weights])
    step = tf.function(lambda: optimizer.apply_gradients([(tf.constant([2.0]), weights)]), autograph=False)

    step()
    optimizer.learning_rate = 0.05
    step()

    assert weights.numpy() == pytest.approx([1 - 0.1 - 0.05], rel=1e-5)  # Adam's steps of equal gradients
