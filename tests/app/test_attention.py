"""The picture of what a translator looks at."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from app.artifacts.run import open_run
from app.inspect import DOTS_PER_INCH, LONGEST_SIDE, attention, draw
from app.prediction.loading import load_predictor

Command = Callable[..., Result]


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG in pixels, as its header says."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_weights(translator: Path) -> None:
    """Each word that is written looked at all of the source, in shares that add up to 1."""
    looked = attention(open_run(translator), "one five two.")

    assert "".join(looked.source) == "▁one▁five▁two."
    assert "".join(looked.target[:-1]) == "▁zwei▁fünf▁eins."
    assert looked.target[-1] == "∎"
    assert looked.weights.shape == (len(looked.target), len(looked.source))
    np.testing.assert_allclose(looked.weights.sum(axis=1), 1, atol=1e-5)
    assert looked.weights.min() >= 0
    assert np.ptp(looked.weights, axis=0).max() > 0.05


def test_the_picture(command: Command, translator: Path, tmp_path: Path) -> None:
    """A column for each token of the source, a row for each of the translation, whose text is printed."""
    sizes = []
    for text in ("one.", "one five two six three one four."):
        output = tmp_path / "pictures" / f"{len(text)}.png"
        result = command("inspect", translator, text, "--output", output)
        answer = load_predictor(translator)([text.encode()])["text"][0].decode()

        assert result.exit_code == 0
        assert result.stdout == f"{answer}\n"
        assert result.stderr == ""
        sizes.append(png_size(output))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["32.png", "4.png"]
    looked = [attention(open_run(translator), text) for text in ("one.", "one five two six three one four.")]
    for (width, height), drawn in zip(sizes, looked, strict=True):
        assert width == pytest.approx(DOTS_PER_INCH * (1.5 + 0.35 * len(drawn.source)), abs=2)
        assert height == pytest.approx(DOTS_PER_INCH * (1.2 + 0.3 * len(drawn.target)), abs=2)


def test_an_svg(translator: Path, tmp_path: Path) -> None:
    """The name's ending says which kind of picture it is."""
    draw(translator, "two one.", tmp_path / "picture.SVG")

    assert "<svg" in (tmp_path / "picture.SVG").read_text()


def test_signs_that_are_hard_to_draw(translator: Path, tmp_path: Path) -> None:
    """What the font lacks, formulas and control characters are drawn without complaint."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(translator, "one $x^$ $\\frac$ 一 👩‍👩‍👧 \u200b\x01 two", tmp_path / "picture.png")

    assert min(png_size(tmp_path / "picture.png")) > 100


def test_a_long_text(translator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture of a long text has no more pixels on a side than can be drawn."""
    monkeypatch.setattr("app.inspect.LONGEST_SIDE", 300)

    draw(translator, "one two three " * 100, tmp_path / "picture.png")

    assert LONGEST_SIDE < 2**16
    assert max(png_size(tmp_path / "picture.png")) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("text", ["", " \n", "\x01", "\u3000"])
def test_no_text(command: Command, translator: Path, tmp_path: Path, text: str) -> None:
    """There is nothing to look at."""
    result = command("inspect", translator, text, "--output", tmp_path / "picture.png")

    assert result.exit_code == 1
    assert result.stderr == "Error: the text is empty; give a sentence to translate\n"
    assert not list(tmp_path.iterdir())


def test_another_ending(command: Command, translator: Path, tmp_path: Path) -> None:
    """The message says which there are."""
    result = command("inspect", translator, "one.", "--output", tmp_path / "picture.txt")

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: --output {tmp_path / 'picture.txt'}: expected a name that ends with .png or .svg\n"
    )


def test_a_classifier(command: Command, run: Path, tmp_path: Path) -> None:
    """It has no attention to draw."""
    result = command("inspect", run, "good", "--output", tmp_path / "picture.png")

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {run}: has no attention to draw; expected a translation run with model.attention\n"
    )
