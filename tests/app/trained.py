"""What tests of training share: a small network, and what a run directory holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifacts.run import open_run
from app.export import export
from app.prediction.loading import load_keras_model

Weights = list[np.ndarray]


# A network without recurrence is traced in a tenth of the time.
PLAIN = (
    "model.layers=0",
    "model.dropout=0",
    "model.word_dropout=0",
    "model.rare_word_dropout=0",
    "model.pooling=mean",
    "model.ngrams=0",
)


TIMES = ("examples_per_second", "tokens_per_second", "evaluation_seconds")


def weights(run: Path) -> Weights:
    """Return the weights that a run keeps."""
    values: Weights = load_keras_model(open_run(run)).get_weights()
    return values


def same(first: Weights, second: Weights) -> bool:
    """Return whether two models have the same weights, bit for bit."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def epoch_lines(run: Path) -> list[dict[str, Any]]:
    """Return those lines that end an epoch, without the times, which are never the same."""
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in metrics(run)
        if "best" in line
    ]


def overrides(*assignments: str) -> list[str]:
    """Return them as they are typed."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def export_quickly(run: Path, *, output: Path) -> Path:
    """Export a run without golden texts, for tests of other things: they take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.export.hard_texts", lambda *_: {})
        return export(run, output=output)
