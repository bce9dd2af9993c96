"""`textrnn inspect`: a plot of the attention weights of a translation model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.artifacts.files import open_output
from app.extras import extra
from app.prediction.predictor import Predictor
from data.errors import UserError

SIGNATURE = "attention"
FORMATS = (".png", ".svg")
DOTS_PER_INCH = 150
LONGEST_SIDE = 8000
"""Largest width or height of the plot, in pixels; tokens of a longer text are too small to read."""


class Attention(NamedTuple):
    """Attention weights of one translation (Bahdanau et al. 2015, figure 3)."""

    source: list[str]
    """Source tokens."""
    target: list[str]
    """Tokens of the best translation, an end sign last."""
    weights: np.ndarray
    """float [target, source]; each row sums to 1."""
    text: str
    """The translation."""


def attention(predictor: Predictor, text: str) -> Attention:
    """Return the attention weights of the best translation of a text.

    Raises:
        UserError: the model has no attention, or the text has no tokens.
    """
    info = predictor.info
    if SIGNATURE not in predictor.signatures:
        raise UserError(
            f"{info.where} ({info.task}) has no attention weights; pass a translation model that was trained "
            "with model.attention=additive or multiplicative"
        )
    outputs = predictor.run_texts(SIGNATURE, [text.encode()])
    if not outputs["source_length"][0]:
        raise UserError("the text has no tokens; give a sentence to translate")
    source, target = (
        [token.decode(errors="replace") for token in outputs[name][0]] for name in ("source", "target")
    )
    return Attention(
        source, [*target[:-1], "∎"], outputs["attention"][0], outputs["text"][0].decode(errors="replace")
    )


def draw(predictor: Predictor, text: str, output: Path) -> str:
    """Write a plot of the attention weights for a sentence, and return the translation.

    Raises:
        UserError: the model has no attention, the text has no tokens, or the file is neither PNG nor SVG.
    """
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output}: expected a name that ends with {' or '.join(FORMATS)}")
    with extra("plots", "inspect"):
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

    found = attention(predictor, text)
    size = (1.5 + 0.35 * len(found.source), 1.2 + 0.3 * len(found.target))
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    axes.imshow(found.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(found.source)), _printable(found.source), rotation=90, parse_math=False)
    axes.set_yticks(range(len(found.target)), _printable(found.target), parse_math=False)
    axes.xaxis.tick_top()
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_output(output) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # a glyph that the font lacks is drawn as a box
        dpi = min(DOTS_PER_INCH, LONGEST_SIDE / max(size))
        figure.savefig(file, format=output.suffix.lower()[1:], dpi=dpi)
    pyplot.close(figure)
    return found.text


def _printable(tokens: list[str]) -> list[str]:
    """Return tokens with white space and control characters as escapes."""
    return [token if token.isprintable() else repr(token)[1:-1] for token in tokens]
