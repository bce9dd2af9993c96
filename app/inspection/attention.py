"""The attention weights of a translation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from app.prediction.predictor import Predictor
from data.errors import UserError

SIGNATURE = "attention"


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

    def as_json(self) -> dict[str, Any]:
        """Return it by name."""
        return {"source": self.source, "target": self.target, "weights": self.weights.tolist()}


def has_attention(predictor: Predictor) -> bool:
    """Return whether a model gives attention weights."""
    return SIGNATURE in predictor.signatures


def attention(predictor: Predictor, text: str) -> Attention:
    """Return the attention weights of the best translation of a text.

    Raises:
        UserError: the model has no attention, or the text has no tokens.
    """
    info = predictor.info
    if not has_attention(predictor):
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
