from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from trained import PLAIN, metrics

from app.config import TaskConfig, TrainingConfig
from app.train import train
from app.training.optimizer import clip

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


def gradients(random: np.random.Generator) -> list[np.ndarray]:
    """Return the gradients of three variables."""
    return [random.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3,), (2, 2, 2))]


def clipped_by(values: Sequence[np.ndarray], **options: float) -> tuple[list[np.ndarray], float, bool]:
    """Clip as a configuration with these options says."""
    found, norm, was_clipped = clip([tf.constant(v) for v in values], TrainingConfig(**options))
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
