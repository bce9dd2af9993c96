"""`textrnn tune lr`: losses at growing learning rates, and the rate that is suggested."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from trained import PLAIN, overrides

from app.range_test import MEMORY, range_test, smoothed, suggested
from data.errors import UserError

Command = Callable[..., Result]

OWN = (*PLAIN, "model.embedding_size=4", "training.batch_size=8", "training.optimizer=sgd")


@pytest.fixture
def learnable(tmp_path: Path, jsonl: Callable[[Path, Sequence[Any]], None]) -> Path:
    """Return a folder with texts whose only word is their label."""
    rows = [{"text": word, "label": word} for word in ("good", "bad")] * 24
    for split in ("train", "validation"):
        jsonl(
            tmp_path / f"data/{split}.jsonl",
            [{**row, "text": f"{row['text']} {i}"} for i, row in enumerate(rows)],
        )
    return tmp_path / "data"


def test_rates_and_losses(learnable: Path) -> None:
    """Rates grow by one factor, from the first to the last; steps go through several epochs."""
    events: list[Any] = []
    found = range_test(
        "classification",
        str(learnable),
        lowest=1e-3,
        highest=10,
        steps=60,
        overrides=OWN,
        watcher=events.append,
    )

    assert found is not None
    rates = [row["learning_rate"] for row in found["rows"]]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] <= 10 * (1 + 1e-9)
    factors = [second / first for first, second in itertools.pairwise(rates)]
    assert factors == pytest.approx([1e4 ** (1 / 59)] * len(factors))
    assert found["rows"][0]["loss"] == pytest.approx(math.log(2), abs=0.1)
    assert min(row["smoothed"] for row in found["rows"]) < 0.6
    assert 1e-2 < found["suggested"] < 10
    assert max(event.epoch for event in events) > 1
    losses: list[float] = []
    for event, row in zip(events, found["rows"], strict=True):
        losses = [*(losses if event.step > 1 else []), row["loss"]]
        assert event.metrics["loss"] == pytest.approx(np.mean(losses))  # over the epoch so far


def test_smoothed() -> None:
    """The average of equal losses is that loss, and the last losses weigh most."""
    assert smoothed([2.0] * 5) == pytest.approx(2)
    assert smoothed([0.0, 1.0]) == pytest.approx(1 / (1 + MEMORY))


def rows(losses: Sequence[float]) -> list[dict[str, float]]:
    """Return rows as of `range_test`, a tenth of a decade apart."""
    return [
        {"learning_rate": 10 ** (step / 10 - 5), "loss": loss, "smoothed": smoothed(losses[: step + 1])}
        for step, loss in enumerate(losses)
    ]


def test_the_steepest_fall_is_suggested() -> None:
    """It is neither the lowest point nor a fall after it."""
    steps = np.arange(60)
    losses = 1 - 0.8 / (1 + np.exp(-(steps - 30) / 3)) + 0.001 * (-1.0) ** steps
    losses[50:] = 2.0
    losses[55:] = 0.5

    rate = suggested(rows(losses.tolist()))

    assert 28 <= (math.log10(rate) + 5) * 10 <= 36


def test_a_fall_by_chance_is_no_suggestion() -> None:
    """Losses that differ by chance alone, and such that rise, lead to an error that says what to try."""
    noise = np.random.default_rng(0).normal(0.69, 0.01, 200)

    for losses in (noise, np.linspace(1, 2, 50)):
        with pytest.raises(UserError, match=r"does not fall at any learning rate.*; give more --steps"):
            suggested(rows(losses.tolist()))


def test_stopping(learnable: Path) -> None:
    """It can be stopped, and an empty range is refused."""
    assert range_test("classification", str(learnable), overrides=OWN, should_stop=lambda: True) is None
    with pytest.raises(UserError, match=r"--from 0.1 is not less than --to 0.1"):
        range_test("classification", str(learnable), lowest=0.1, highest=0.1, overrides=OWN)


def test_command(command: Command, learnable: Path, tmp_path: Path) -> None:
    """`tune lr` prints a table and the option to train with, or JSON, and draws; it writes nothing else."""
    words = ("tune", "lr", "classification", learnable, "--from", "1e-3", "--to", "10", "--steps", "60")
    options = overrides(*OWN, f"data.directory={tmp_path / 'cache'}")
    before = {path for path in tmp_path.iterdir() if path.name != "cache"}
    result = command(*words, *options)
    drawn = command(*words, *options, "--json", "--output", tmp_path / "rates.svg")

    assert result.exit_code == 0, result.stderr
    found = json.loads(drawn.stdout)
    assert result.stdout.splitlines()[-1] == (
        f"suggested: --set training.learning_rate={found['suggested']:.2g}"
    )
    assert f"{found['rows'][0]['learning_rate']:.2e}" in result.stdout
    assert (tmp_path / "rates.svg").read_text().startswith("<?xml")
    after = {path for path in tmp_path.iterdir() if path.name != "cache"}
    assert after - before == {tmp_path / "rates.svg"}
