"""What a network predicts from a part of a text: from its start to each token, and from each token on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from app.tasks.inspection import Inspection, Text, Vectors

TOKENS_AT_ONCE = 16_384


class Part(NamedTuple):
    """The prediction from a part of a text."""

    token: str
    """The last token of a part that starts with the text; the first one of a part that ends with it."""
    prediction: str
    probability: float
    """Of the prediction."""
    final: float
    """The probability of what is predicted from the whole text."""


def prefixes(inspection: Inspection[Any, Any], text: Text) -> list[Part]:
    """Return the predictions from the first token, the first two, and so on.

    Of a network with an output for each token it is the output of the last token of the part.
    """
    length = len(text.tokens[inspection.main])
    ends = np.arange(1, length + 1)
    return _predict(inspection, text, np.zeros(length, int), ends, ends - 1)


def suffixes(inspection: Inspection[Any, Any], text: Text) -> list[Part]:
    """Return the predictions from each token to the end of the text, in the order of the first token.

    Of a network with an output for each token it is the output of the first token of the part. There are none
    of a network that reads forwards only.
    """
    if inspection.per_step and not inspection.sees_ahead:
        return []
    length = len(text.tokens[inspection.main])
    return _predict(inspection, text, np.arange(length), np.full(length, length), np.zeros(length, int))


def _predict(
    inspection: Inspection[Any, Any], text: Text, starts: np.ndarray, ends: np.ndarray, steps: np.ndarray
) -> list[Part]:
    """Return the predictions from parts of the main sequence, each with the output of one of its steps."""
    names, tokens = inspection.names, text.tokens[inspection.main]
    own = text.vectors.values[inspection.main][0].numpy()
    ids = None if text.vectors.ids is None else text.vectors.ids.numpy()[0]
    whole = _final_classes(inspection, text, starts + steps)
    found = []
    at_once = max(TOKENS_AT_ONCE // len(own), 1)
    for i in range(0, len(starts), at_once):
        chosen = slice(i, i + at_once)
        lengths = (ends - starts)[chosen]
        values = np.zeros((len(lengths), lengths.max(), own.shape[1]), np.float32)
        part_ids = np.zeros(values.shape[:2], np.int32)
        for row, (start, end) in enumerate(zip(starts[chosen], ends[chosen], strict=True)):
            values[row, : end - start] = own[start:end]
            if ids is not None:
                part_ids[row, : end - start] = ids[start:end]
        rows = text.vectors.rows(np.zeros(len(lengths), int))
        rows = Vectors(
            {**rows.values, inspection.main: tf.constant(values)},
            {**rows.lengths, inspection.main: tf.constant(lengths, tf.int32)},
            None if ids is None else tf.constant(part_ids),
        )
        logits = inspection.logits(rows, steps[chosen].astype(np.int32))
        predicted = inspection.classes(logits).numpy()
        probabilities = inspection.probabilities(logits).numpy()
        for row, name in enumerate(predicted):
            token = tokens[int((starts + steps)[i + row])]
            final = probabilities[row, whole[i + row]]
            found.append(Part(token, names[name], float(probabilities[row, name]), float(final)))
    return found


def _final_classes(inspection: Inspection[Any, Any], text: Text, steps: np.ndarray) -> np.ndarray:
    """Return what is predicted from the whole text: of a network with an output a step, for each step."""
    if not inspection.per_step:
        return np.repeat(inspection.chosen(text), len(steps))
    found: np.ndarray = inspection.chosen(text._replace(steps=steps.tolist(), classes=None))
    return found
