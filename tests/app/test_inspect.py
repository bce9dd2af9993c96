"""The plot of the attention weights of a translator."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from trained import export_quickly

from app.config import load_config
from app.inspect import DOTS_PER_INCH, LONGEST_SIDE, attention, draw
from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from app.train import train

Command = Callable[..., Result]
Once = Callable[[str, Callable[[Path], object]], Path]

TEXT = "one five two six three one four."


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG in pixels, from its header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.fixture(scope="module")
def predictor(translator: Path) -> Predictor:
    """Return the predictor of the learned translator."""
    return load_predictor(translator)


@pytest.fixture(scope="module")
def translator_export(once: Once, translator: Path) -> Path:
    """Return the export of the learned translator."""
    folder = once("inspected", lambda folder: export_quickly(translator, output=folder / "translator"))
    return folder / "translator" / "1"


def test_weights(predictor: Predictor) -> None:
    """Each target token has a weight for every source token; its weights sum to 1."""
    found = attention(predictor, "one five two.")

    assert "".join(found.source) == "▁one▁five▁two."
    assert "".join(found.target[:-1]) == "▁zwei▁fünf▁eins."
    assert found.target[-1] == "∎"
    assert found.weights.shape == (len(found.target), len(found.source))
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
    assert found.weights.min() >= 0
    assert np.ptp(found.weights, axis=0).max() > 0.05


def test_an_export_has_the_weights_of_its_run(predictor: Predictor, translator_export: Path) -> None:
    """A run and its export give the same tokens, translation and attention weights."""
    of_run, of_export = attention(predictor, TEXT), attention(load_predictor(translator_export), TEXT)

    assert (of_export.source, of_export.target, of_export.text) == (of_run.source, of_run.target, of_run.text)
    np.testing.assert_allclose(of_export.weights, of_run.weights, atol=1e-5)


@pytest.mark.parametrize("kind", ["translator", "translator_export"])
def test_the_plot(
    command: Command, request: pytest.FixtureRequest, predictor: Predictor, tmp_path: Path, kind: str
) -> None:
    """The plot of a run or an export has a column per source token and a row per target token."""
    model = request.getfixturevalue(kind)
    for text in ("one.", TEXT):
        output = tmp_path / "plots" / f"{len(text)}.png"
        result = command("inspect", model, text, "--output", output)
        found = attention(predictor, text)

        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{found.text}\n", "")
        width, height = png_size(output)
        assert width == pytest.approx(DOTS_PER_INCH * (1.5 + 0.35 * len(found.source)), abs=2)
        assert height == pytest.approx(DOTS_PER_INCH * (1.2 + 0.3 * len(found.target)), abs=2)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["32.png", "4.png"]


def test_an_svg(predictor: Predictor, tmp_path: Path) -> None:
    """The suffix of the output selects the format."""
    draw(predictor, "two one.", tmp_path / "plot.SVG")

    assert "<svg" in (tmp_path / "plot.SVG").read_text()


def test_tokens_that_are_hard_to_draw(predictor: Predictor, tmp_path: Path) -> None:
    """Characters that the font lacks, formulas and control characters are drawn without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(predictor, "one $x^$ $\\frac$ 一 👩‍👩‍👧 \u200b\x01 two", tmp_path / "plot.png")

    assert min(png_size(tmp_path / "plot.png")) > 100


def test_a_long_text(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plot of a long text is limited to a number of pixels per side."""
    monkeypatch.setattr("app.inspect.LONGEST_SIDE", 300)

    draw(predictor, "one two three " * 100, tmp_path / "plot.png")

    assert LONGEST_SIDE < 2**16
    assert max(png_size(tmp_path / "plot.png")) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("text", ["", " \n", "\x01", "\u3000"])
def test_no_text(command: Command, translator: Path, tmp_path: Path, text: str) -> None:
    """A text without tokens is refused."""
    result = command("inspect", translator, text, "--output", tmp_path / "plot.png")

    assert result.exit_code == 1
    assert result.stderr == "Error: the text has no tokens; give a sentence to translate\n"
    assert not list(tmp_path.iterdir())


def test_another_suffix(command: Command, translator: Path, tmp_path: Path) -> None:
    """The error names the suffixes that are allowed."""
    result = command("inspect", translator, "one.", "--output", tmp_path / "plot.txt")

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: --output {tmp_path / 'plot.txt'}: expected a name that ends with .png or .svg\n"
    )


@pytest.mark.parametrize("kind", ["run", "exported", "no_attention"])
def test_a_model_without_attention(
    command: Command, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """A classifier, its export, and a translator without attention are refused with a one-line error."""
    model = request.getfixturevalue(kind)

    result = command("inspect", model, "one.", "--output", tmp_path / "plot.png")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {model} (")
    assert "has no attention weights; pass a translation model" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def no_attention(once: Once, pairs: Path) -> Path:
    """Return the run of a tiny translator without attention."""
    tiny = ("model.units=4", "model.embedding_size=4", "training.epochs=1", "text.vocabulary_size=60")
    config = load_config("translation", overrides=[*tiny, "model.attention=none", "training.batch_size=100"])
    return (
        once("no_attention", lambda folder: train("translation", str(pairs), config, run=folder / "run"))
        / "run"
    )
