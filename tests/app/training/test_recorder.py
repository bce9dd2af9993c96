from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from click.testing import Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trained import TIMES, metrics

from app.config import TaskConfig

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


def test_metrics(run: Path) -> None:
    """There is a line every `steps_per_checkpoint` steps and one an epoch, which has the validation."""
    lines = metrics(run)
    figures = {"loss", "accuracy", "gradient_norm", "gradient_norm_max", "clipped_share", "learning_rate"}

    assert [(line["epoch"], line["step"]) for line in lines] == [
        (1, 2),
        (1, 4),
        (1, 5),
        (2, 7),
        (2, 9),
        (2, 10),
    ]
    for line in lines:
        assert line.keys() >= {*figures, *TIMES[:2]}
        assert all(math.isfinite(value) for value in line.values())
        assert line["gradient_norm_max"] >= line["gradient_norm"] > 0
        assert 0 < line["gradient_norm_clipped"] <= min(line["gradient_norm"], 1 + 1e-6)
        assert line["tokens_per_second"] > line["examples_per_second"] > 0
        ends = line["step"] % 5 == 0
        assert ends == (
            {"validation_loss", "validation_accuracy", "validation_macro_f1", "best"} <= line.keys()
        )


def test_tensorboard(run: Path) -> None:
    """TensorBoard reads the figures of each epoch from the run's event file."""
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    epochs = [line for line in metrics(run) if "best" in line]

    gate = "gradient_norm/recurrent/forward_0/forget"
    for name in ("loss", "validation_loss", "validation_accuracy", "gradient_norm", gate, "learning_rate"):
        found = [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in events.Tensors(name)]
        assert found == [(line["step"], pytest.approx(line[name])) for line in epochs]
