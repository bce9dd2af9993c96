"""`textrnn inspect`: a picture of a translator's attention."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from app.artifacts.files import open_output
from app.artifacts.run import Run, open_run
from app.prediction.loading import load_keras_model
from app.tasks.translation.search import Translator
from data.errors import UserError

FORMATS = (".png", ".svg")
DOTS_PER_INCH = 150
LONGEST_SIDE = 8000
"""Pixels of the picture of a long text, whose words are then too small to read."""


class Looked(NamedTuple):
    """What a translator looked at (Bahdanau et al. 2015, figure 3)."""

    source: list[str]
    """Tokens."""
    target: list[str]
    """Tokens of the best translation, an end last."""
    weights: np.ndarray
    """float [target, source]; each row sums to 1."""
    text: str
    """The translation."""


def attention(run: Run, text: str) -> Looked:
    """What a translator looks at while it writes its best translation of a text.

    Raises:
        UserError: the text has no tokens.
    """
    decoding = run.config.decoding
    translator = Translator(load_keras_model(run), run.vocabularies(), run.config)
    answers = translator.attention(
        tf.constant([text.encode()], tf.string),
        decoding.beam,
        decoding.length_penalty,
        decoding.coverage_penalty,
    )
    if not answers["source_length"][0]:
        raise UserError("the text is empty; give a sentence to translate")
    source, target = (
        [t.decode(errors="replace") for t in answers[n][0].numpy()] for n in ("source", "target")
    )
    return Looked(
        source, [*target[:-1], "∎"], answers["attention"][0].numpy(), answers["text"][0].numpy().decode()
    )


def draw(path: Path, text: str, output: Path) -> str:
    """Writes the picture of a sentence's attention, and returns the translation.

    Raises:
        UserError: the run is no translator with attention, the text has no words, or the file's name
            is not that of a picture.
    """
    run = open_run(path)
    if run.task != "translation" or run.config.model.attention == "none":
        raise UserError(f"{path}: has no attention to draw; expected a translation run with model.attention")
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output}: expected a name that ends with {' or '.join(FORMATS)}")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    looked = attention(run, text)
    size = (1.5 + 0.35 * len(looked.source), 1.2 + 0.3 * len(looked.target))
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    axes.imshow(looked.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(looked.source)), _labels(looked.source), rotation=90, parse_math=False)
    axes.set_yticks(range(len(looked.target)), _labels(looked.target), parse_math=False)
    axes.xaxis.tick_top()
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_output(output) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # what the font lacks is drawn as a box
        dpi = min(DOTS_PER_INCH, LONGEST_SIDE / max(size))
        figure.savefig(file, format=output.suffix.lower()[1:], dpi=dpi)
    pyplot.close(figure)
    return looked.text


def _labels(tokens: list[str]) -> list[str]:
    """Tokens as they can be drawn: white space and control characters as escapes."""
    return [token if token.isprintable() else repr(token)[1:-1] for token in tokens]
