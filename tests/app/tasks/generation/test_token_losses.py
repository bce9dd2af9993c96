"""The loss of each token, and how tokens are shown as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from generation_data import Models

from app.inspection.opened import open_to_inspect
from app.tasks.generation.inspection import GenerationInspection
from app.tasks.generation.token_losses import shown, windows
from models.text.tokenize import tokenize

TEXTS = ["Anna: the cat is old.", "Bob, what's the ship?\nA wave."]


def opened(path: Path) -> GenerationInspection:
    """Return how the network of a run is looked into."""
    found = open_to_inspect(path).inspection
    assert isinstance(found, GenerationInspection)
    return found


@pytest.mark.parametrize("kind", ["char", "word", "subword"])
def test_the_mean_is_the_loss_of_the_text(models: Models, kind: str) -> None:
    """Over a whole text the losses have the mean that the model's own signature computes."""
    found = windows(opened(models(kind).path), [text.encode() for text in TEXTS], number=9, longest=100)
    expected = models(kind).predictor.run_texts("score", [text.encode() for text in TEXTS])

    assert [len(own.losses) for own in found] == expected["tokens"].tolist()
    assert [own.losses.mean() for own in found] == pytest.approx(expected["loss"].tolist(), rel=1e-4)
    assert all(own.losses.std() > 0 for own in found)


def test_windows_of_a_long_text(models: Models) -> None:
    """A text is divided into windows, each of which is read from an empty state."""
    inspection = opened(models("char").path)
    text = (b"the cat is old. " * 8)[:100]
    every = windows(inspection, [text], number=9, longest=16)
    again = windows(inspection, [text, b"x"], number=3, longest=16)

    assert b"".join(b"".join(own.pieces) for own in every) == text
    assert [len(own.losses) for own in every] == [16] * 6 + [4]
    # All but the first window follow a space in a text that repeats after 16 tokens.
    np.testing.assert_allclose(every[1].losses, every[5].losses, rtol=1e-5)
    assert abs(every[1].losses - every[0].losses).max() > 1e-3
    assert len(again) == 3


@pytest.mark.parametrize("kind", ["char", "word", "byte", "subword"])
def test_tokens_add_up_to_the_text(models: Models, kind: str) -> None:
    """What each token adds, white space included, gives the text, also of characters of several bytes."""
    preprocessor = opened(models(kind).path).preprocessor
    text = "αβ the cat, and so on" if kind == "byte" else "the cat, and so on"
    pieces = tokenize([text.encode()], **preprocessor.options)[0].numpy().tolist()
    added = shown(pieces, preprocessor)

    assert len(added) == len(pieces)
    assert "".join(added).strip() == text
