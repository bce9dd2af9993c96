"""`textrnn report`: one page about a run, which needs no other file and no network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from report_pages import SECTIONS, Page, look_at, page_of
from trained import PLAIN

from app.config import load_config
from app.page.blocks import Figure, MarkedText, Paragraph, Section, Table
from app.page.figures import figure
from app.page.render import render
from app.tasks.classification.report import doubtful
from app.train import train

Command = Callable[..., Result]
Write = Callable[[Path, list[dict[str, object]]], None]


@pytest.fixture(scope="module")
def run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the run, whose files other tests count."""
    return shutil.copytree(run, tmp_path_factory.mktemp("reported") / "run")


def test_the_report_of_a_classifier(command: Command, run: Path) -> None:
    """It has all sections, and the metrics of `evaluate`."""
    page = page_of(command, run)
    found = json.loads(command("evaluate", run, "--split", "validation", "--no-baseline", "--json").stdout)

    assert page.headings == [
        *(*SECTIONS, "Confusions", "Classes", "Certainty", "Mistakes", "Doubtful labels", "Data", "Layers")
    ]
    assert f"{found['accuracy']:.4f}" in page.cells
    assert f"{found['expected_calibration_error']:.4f}" in page.cells
    assert "model.units" in page.cells
    assert page.tags.count("svg") >= 5


def test_the_memory_is_that_of_inspect(command: Command, run: Path) -> None:
    """The page has the sentences about memory that `inspect` prints."""
    page_of(command, run)
    gradient, context, *_ = json.loads(command("inspect", run, "--json").stdout)["sentences"]

    assert gradient.startswith("Half of the gradient reaches back ")
    assert " of the predictions stay the same if only the last " in context
    assert f"{gradient} {context}" in (run / "report.html").read_text()


def test_the_baseline_stands_beside(command: Command, run: Path) -> None:
    """Without --no-baseline the report says how the model compares."""
    result = command("report", run, "--split", "test")

    assert result.exit_code == 0, result.stderr
    assert "linear baseline" in (run / "report.html").read_text()
    assert "test split" in (run / "report.html").read_text()


def test_the_report_of_a_translator(command: Command, translator: Path) -> None:
    """It has scores by length, translations, and the attention weights of three of them."""
    page = page_of(command, translator)
    text = (translator / "report.html").read_text()

    assert text.count("tokens of the translation</text>") == 3
    assert "BLEU, from 0 to 100</text>" in text
    assert all(name in text for name in ("Among the best (chrF ", "In the middle (", "Among the worst ("))
    assert page.headings == [*SECTIONS, "Scores by length", "Translations", "Attention", "Data", "Layers"]


@pytest.mark.parametrize("fixture", ["run", "translator"])
def test_the_page_in_a_browser(command: Command, request: pytest.FixtureRequest, fixture: str) -> None:
    """Nothing of it overlaps on a wide and on a narrow screen."""
    run = request.getfixturevalue(fixture)
    page_of(command, run)
    look_at(run)


def test_texts_are_escaped(command: Command, jsonl: Write, tmp_path: Path) -> None:
    """Texts and labels of the data are never markup."""
    rows: list[dict[str, object]] = [
        {"text": f"<script>alert({i})</script> {word}", "label": f"<b>{word}</b>"}
        for i in range(20)
        for word in ("good", "bad")
    ]
    jsonl(tmp_path / "data/train.jsonl", rows)
    jsonl(tmp_path / "data/validation.jsonl", [{**row, "label": "<b>bad</b>"} for row in rows[:10]])
    config = load_config("classification", overrides=[*PLAIN, "training.epochs=1"])
    train("classification", str(tmp_path / "data"), config, run=tmp_path / "run")
    page = page_of(command, tmp_path / "run")

    assert "b" not in page.tags
    assert any("<b>bad</b>" in cell for cell in page.cells)


def test_a_classifier_without_mistakes(command: Command, jsonl: Write, tmp_path: Path) -> None:
    """The least certain texts are explained if there are no mistakes."""
    rows: list[dict[str, object]] = [
        {"text": f"a {word} film {i}", "label": word} for i in range(20) for word in ("good", "bad")
    ]
    jsonl(tmp_path / "data/train.jsonl", rows)
    jsonl(tmp_path / "data/validation.jsonl", [{**row, "text": f"{row['text']} unseen"} for row in rows])
    keys = ("training.epochs=4", "training.learning_rate=0.1", "training.batch_size=8")
    config = load_config("classification", overrides=[*PLAIN, *keys])
    train("classification", str(tmp_path / "data"), config, run=tmp_path / "run")
    page_of(command, tmp_path / "run")
    text = (tmp_path / "run" / "report.html").read_text()

    assert "All predictions are right." in text
    assert "Least certain texts" in text
    assert "The words of the least certain texts" in text
    assert "Most confident mistakes" not in text
    assert "20.00 % of the tokens of 40 texts of the validation split are out of vocabulary" in text


def test_what_is_no_run(command: Command, tmp_path: Path) -> None:
    """A folder without a run is refused in one line."""
    result = command("report", tmp_path)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {tmp_path}")


def test_blocks() -> None:
    """Each kind of block is shown, and sections without blocks are left out."""
    sections = [
        Section("One & two", [Paragraph("a < b"), Table(["x", "n"], [["<i>", "1"]], caption="C", more=1200)]),
        Section("Nothing"),
        Section("Marked", [MarkedText([("good", 1.0), (" and ", 0.0), ("bad", -0.5)], "note")]),
    ]
    text = render("T", "S", sections)
    page = Page(text)

    assert page.headings == ["One & two", "Marked"]
    assert page.cells == ["<i>", "1"]
    assert "and 1,200 more" in text
    assert '60%, transparent)">good' in text
    assert '30%, transparent)">bad' in text


def test_figures_have_names_of_their_own() -> None:
    """Two figures of a page share no id, and take the colour of its text."""
    markup = [figure(lambda axes: axes.plot([1, 2], [3, 4])) for _ in range(2)]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in markup]

    assert all(ids)
    assert not ids[0] & ids[1]
    assert all("currentColor" in svg and "#010203" not in svg for svg in markup)
    assert all(re.search(r"<svg[^>]*viewBox", svg) for svg in markup)
    assert all(not re.search(r'<svg[^>]* width="', svg) for svg in markup)
    assert Figure(markup[0], "caption").kind == "figure"


def test_doubtful_labels() -> None:
    """An example is doubtful if another class has at least its usual probability; the worst is first."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95], [0.45, 0.55]])
    targets = np.array([0, 0, 1, 1, 0, 0])

    # The usual probability of class 0 is 0.55, that of class 1 is 0.85.
    assert doubtful(probabilities, targets).tolist() == [4]
    assert doubtful(probabilities, np.array([0, 0, 0, 1, 0, -1])).tolist() == [4, 2]
    assert doubtful(probabilities, np.array([0, 0, 1, 1, 1, 1])).tolist() == []


def test_names_in_figures_are_plain_text() -> None:
    """Dollar signs are no formula, and characters that the font of Matplotlib lacks are no warning."""
    svg = figure(lambda axes: axes.set_xticks([0, 1], ["$x_1$ <", "\u1230\u120b\u121d"]))

    assert "$x_1$ &lt;" in svg
    assert "\u1230\u120b\u121d" in svg


@pytest.mark.parametrize("size", [1, 90], ids=["one class", "many classes"])
def test_large_figures_are_scrolled(size: int) -> None:
    """A picture that is wider than the page keeps its size, others follow the page within bounds."""
    svg = figure(lambda axes: axes.plot([1, 2]), width=0.1 * size + 3)
    found = re.search(r'<svg style="min-width: ([\d.]+)in; max-width: ([\d.]+)in"', svg)

    assert found is not None
    assert [float(own) for own in found.groups()] == ([12.0, 12.0] if size == 90 else [3.1, 4.2])
