"""The report of a language model."""

from __future__ import annotations

import json
import re

import pytest
from generation_data import Command, Models
from report_pages import SECTIONS, look_at, page_of

from app.config import load_config


def test_the_report_of_a_language_model(command: Command, models: Models) -> None:
    """It has losses by position, passages whose tokens are coloured, and samples of each epoch."""
    run = models("char").path
    page = page_of(command, run)
    text = (run / "report.html").read_text()

    own = ["Loss by position", "Likely and unlikely text", "Samples", "Samples by epoch"]
    assert page.headings == [*SECTIONS, *own, "Data", "Layers"]
    assert all(f"epoch {epoch}<" in text for epoch in (1, 2, 3))
    assert "unlikely: mean loss" in text


def test_the_time_of_training(command: Command, models: Models) -> None:
    """It is that of the steps, whose examples are windows of the text, not its documents."""
    run = models("char").path
    page_of(command, run)
    found = re.search(
        r"Training steps took ([\d.]+) seconds, at a median of ([\d,]+)", (run / "report.html").read_text()
    )
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    epochs = [line for line in lines if "best" in line]
    size = load_config(file=run / "config.toml").training.batch_size
    rate = sorted(line["examples_per_second"] for line in epochs)[len(epochs) // 2]

    assert found is not None
    seconds, shown = float(found[1]), float(found[2].replace(",", ""))
    assert shown == pytest.approx(rate, abs=1)
    rates = [line["examples_per_second"] for line in epochs]
    fastest, slowest = (epochs[-1]["step"] * size / own for own in (max(rates), min(rates)))
    assert fastest - 0.1 <= seconds <= slowest + 0.1


def test_the_page_in_a_browser(command: Command, models: Models) -> None:
    """Nothing of it overlaps on a wide and on a narrow screen."""
    run = models("subword").path
    page_of(command, run)
    look_at(run)
