"""The report of a language model."""

from __future__ import annotations

from generation_data import Command, Models
from report_pages import SECTIONS, look_at, page_of


def test_the_report_of_a_language_model(command: Command, models: Models) -> None:
    """It has losses by position, passages whose tokens are coloured, and samples of each epoch."""
    run = models("char").path
    page = page_of(command, run)
    text = (run / "report.html").read_text()

    own = ["Loss by position", "Likely and unlikely text", "Samples", "Samples by epoch"]
    assert page.headings == [*SECTIONS, *own, "Data", "Layers"]
    assert all(f"epoch {epoch}<" in text for epoch in (1, 2, 3))
    assert "unlikely: mean loss" in text


def test_the_page_in_a_browser(command: Command, models: Models) -> None:
    """Nothing of it overlaps on a wide and on a narrow screen."""
    run = models("subword").path
    page_of(command, run)
    look_at(run)
