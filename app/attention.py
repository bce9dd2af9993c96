"""`textrnn inspect`: a picture of a translator's attention."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from app.predictor import load_keras_model
from app.run import Run, open_run, replaced
from app.tasks.translation_search import Translator
from data.errors import UserError
from models.text import END_ID, tokenize

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
    model = load_keras_model(run)
    decoding = run.config.decoding
    translator = Translator(model, run.vocabularies(), run.config)
    texts = tf.constant([text.encode()], tf.string)
    pieces = tokenize(texts, **translator.source.options)
    if not pieces.flat_values.shape[0]:
        raise UserError("the text is empty; give a sentence to translate")
    source, lengths = translator.source.look_up(pieces)
    ids, written, _ = translator.search(
        source,
        lengths,
        width=decoding.beam,
        length_penalty=decoding.length_penalty,
        coverage_penalty=decoding.coverage_penalty,
    )
    found = ids[0, 0, : int(written[0, 0])].numpy().tolist()
    state = model.encode(source, lengths)
    weights = []
    for token in [END_ID, *found]:
        _, state = model.step(tf.constant([token]), state)
        weights.append(state["attention"][0].numpy())
    return Looked(
        [token.decode(errors="replace") for token in pieces[0].numpy()],
        [*(token.decode(errors="replace") for token in translator.target_tokens(found)), "∎"],
        np.stack(weights),
        translator.write(ids[:, 0], written[:, 0]).numpy()[0].decode(),
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
    with replaced(output) as beside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # what the font lacks is drawn as a box
        figure.savefig(beside, dpi=min(DOTS_PER_INCH, LONGEST_SIDE / max(size)))
    pyplot.close(figure)
    return looked.text


def _labels(tokens: list[str]) -> list[str]:
    """Tokens as they can be drawn: white space and control characters as escapes."""
    return [token if token.isprintable() else repr(token)[1:-1] for token in tokens]
