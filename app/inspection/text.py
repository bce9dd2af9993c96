"""What a trained network does with a text: `inspect` with a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.inspection.attention import SIGNATURE, Attention, attention, has_attention
from app.prediction.predictor import Predictor
from app.tasks import get_task
from app.tasks.inspection import TOKENS
from data.errors import UserError
from data.formats import Row

if TYPE_CHECKING:
    from app.inspection.opened import Opened
    from app.inspection.parts import Part
    from app.inspection.states import LayerStates


class Explained(NamedTuple):
    """The influence of tokens on one output."""

    output: str
    """What is predicted."""
    token: str
    """The token of the output; empty for an output of the whole text."""
    tokens: Mapping[str, Sequence[str]]
    """By sequence."""
    influence: Mapping[str, np.ndarray]
    """By sequence: float [T]."""
    difference: float | None = None
    """The score of the text minus that of unknown tokens; None: not known."""
    error: float | None = None
    """The absolute difference between the sum of the influences and `difference`."""

    def as_json(self) -> dict[str, Any]:
        """Return it by name."""
        return {
            "output": self.output,
            "token": self.token,
            "influence": {
                name: [
                    {"text": text, "influence": float(value)}
                    for text, value in zip(self.tokens[name], values, strict=True)
                ]
                for name, values in self.influence.items()
            },
            "difference": self.difference,
            "error": self.error,
        }


class TextView(NamedTuple):
    """A text, what is predicted for it and why, and what the layers hold after each token."""

    where: str
    task: str
    text: str
    prediction: dict[str, Any]
    """As `predict` prints it."""
    explained: list[Explained]
    tokens: Sequence[str]
    """Of the sequence that `prefixes`, `suffixes` and `without` are parts of."""
    prefixes: list[Part]
    suffixes: list[Part]
    without: list[Part]
    """With one token unknown."""
    layers: list[LayerStates]
    attention: Attention | None

    @property
    def decisive(self) -> int | None:
        """The place of the token without which what is predicted is least probable; None: it is not known."""
        if not self.without:
            return None
        return min(range(len(self.without)), key=lambda place: self.without[place].final)

    def as_json(self) -> dict[str, Any]:
        """Return the object that `inspect --json` prints for a text."""
        return {
            "text": self.text,
            "prediction": self.prediction,
            "outputs": [own.as_json() for own in self.explained],
            "prefixes": [part._asdict() for part in self.prefixes],
            "suffixes": [part._asdict() for part in self.suffixes],
            "without": [part._asdict() for part in self.without],
            "decisive": self.decisive,
            "tokens": list(self.tokens),
            "layers": [layer.as_json() for layer in self.layers],
            "attention": None if self.attention is None else self.attention.as_json(),
        }


def view_text(opened: Opened, text: str) -> TextView:
    """Look at a text with a run.

    Raises:
        UserError: the text has no tokens.
    """
    from app.inspection.influence import influence  # an export needs no Keras
    from app.inspection.parts import prefixes, suffixes, without_each
    from app.inspection.states import states_of

    inspection, predictor = opened.inspection, opened.predictor
    read = inspection.text(text, predictor)
    found = influence(inspection, read)
    layers = states_of(inspection, read)
    main = read.tokens[inspection.main]
    names = inspection.names
    explained = []
    for i, error in enumerate(found.error.tolist()):
        own = {name: values[i] for name, values in found.tokens.items()}
        explained.append(
            Explained(
                "" if read.summed else names[found.classes[i]],
                main[read.steps[i]] if inspection.per_step and not read.summed else "",
                {name: read.tokens[name] for name in own},
                own,
                float(found.difference[i]),
                error,
            )
        )
    return TextView(
        where=str(opened.run.path),
        task=opened.run.task,
        text=text,
        prediction=_prediction(predictor, text),
        explained=explained,
        tokens=main,
        prefixes=prefixes(inspection, read),
        suffixes=suffixes(inspection, read),
        without=without_each(inspection, read),
        layers=layers,
        attention=attention(predictor, text) if has_attention(predictor) else None,
    )


def view_text_of_export(predictor: Predictor, text: str) -> TextView:
    """Look at a text with an export: what its signatures give.

    Raises:
        UserError: they explain nothing, or the text has no tokens.
    """
    info = predictor.info
    explanation = get_task(info.task).predictions.explanation
    if explanation is None or explanation.signature not in predictor.signatures:
        raise UserError(
            f"{info.where} is an export, which has no layers to look into, and does not explain its "
            "predictions; pass the run that it was exported from"
        )
    explained = []
    if explanation.signature != SIGNATURE:
        outputs = predictor.run_texts(explanation.signature, [text.encode()])
        found = explanation.to_json({name: values[0] for name, values in outputs.items()})
        tokens = [own["text"] for own in found["tokens"]]
        if not tokens:
            raise UserError("the text has no tokens; give a text with words")
        values = np.array([own["importance"] for own in found["tokens"]])
        explained = [Explained(found["label"], "", {TOKENS: tokens}, {TOKENS: values})]
    return TextView(
        info.where,
        info.task,
        text,
        _prediction(predictor, text),
        explained,
        (),
        [],
        [],
        [],
        [],
        attention(predictor, text) if has_attention(predictor) else None,
    )


def _prediction(predictor: Predictor, text: str) -> dict[str, Any]:
    found = get_task(predictor.info.task).predictions.predict(predictor, [Row(1, {"text": text})])
    return found[0]
