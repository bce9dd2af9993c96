"""The report of a tagger."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_pages import SECTIONS, look_at, page_of
from tagging_data import Command

from app.tasks.tagging.report import NO_SPAN, token_differences, type_pairs


def test_the_report_of_a_tagger(command: Command, joint: Path) -> None:
    """It has types, their confusions, mistakes in context, raw text, and the certainty of labels."""
    page = page_of(command, joint)
    found = json.loads(command("evaluate", joint, "--split", "validation", "--no-baseline", "--json").stdout)
    text = (joint / "report.html").read_text()

    own = ["Types of spans", "Confusions", "Mistakes", "Raw text", "Certainty of labels"]
    assert page.headings == [*SECTIONS, *own, "Data", "Layers"]
    assert set(found["per_type"]) <= set(page.cells)
    assert f"{found['raw_text']['token_f1']:.4f}" in page.cells
    assert f"{found['raw_text']['span_f1']:.4f}" in page.cells
    assert NO_SPAN in text
    assert "sentences have a wrong tag" in text


def test_the_page_in_a_browser(command: Command, joint: Path) -> None:
    """Nothing of it overlaps on a wide and on a narrow screen."""
    page_of(command, joint)
    look_at(joint)


@pytest.mark.parametrize(
    ("gold", "found", "pairs"),
    [
        ("B-a I-a O B-b", "B-a I-a O B-b", [("a", "a"), ("b", "b")]),
        ("B-a I-a I-a O", "B-b I-b B-c O", [("a", "b"), (NO_SPAN, "c")]),
        ("B-a B-b O", "B-c I-c B-d", [("a", "c"), ("b", "c"), (NO_SPAN, "d")]),
        ("B-a O", "O B-a", [("a", NO_SPAN), (NO_SPAN, "a")]),
        ("O O", "O O", []),
    ],
    ids=["right", "longest overlap", "one for two", "apart", "none"],
)
def test_types_of_overlapping_spans(gold: str, found: str, pairs: list[tuple[str, str]]) -> None:
    """A true span meets the predicted span that overlaps it most; what meets none is named so."""
    assert type_pairs(gold.split(), found.split()) == pairs


def test_tokens_that_differ() -> None:
    """Only tokens that differ are listed, in their places; texts that are missing are left out."""

    def row(text: str) -> np.ndarray:
        return np.array([word.encode() for word in text.split()], object)

    tokens = np.empty(3, object)
    tokens[:] = [row("I do n't know ."), row("yes"), row("all the same")]
    batch = {"tokens": tokens, "text": np.array([b"I don't know.", b"", b"all the same"], object)}
    found = {
        "tokens": np.array([[b"I", b"don't", b"know", b"."], [b"all", b"the", b"same", b""]], object),
        "length": np.array([4, 3]),
    }
    predictor: Any = SimpleNamespace(run_texts=lambda *_: found)
    dataset: Any = SimpleNamespace(batches=lambda split: iter([batch]))

    assert list(token_differences(predictor, dataset, "test")) == [("do · n't", "don't")]
