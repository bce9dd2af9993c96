"""What a network predicts from a part of a text: up to each token, from each token on, and without each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from app.tasks.inspection import Inspection, Text, Vectors
from models.text.tokens import UNKNOWN_ID

TOKENS_AT_ONCE = 16_384


class Part(NamedTuple):
    """The prediction from a part of a text."""

    token: str
    """The last token of a part that starts with the text; the first one of a part that ends with it; the one
    that is unknown."""
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


def without_each(inspection: Inspection[Any, Any], text: Text) -> list[Part]:
    """Return the predictions with one token unknown, for each token.

    (Li et al. 2016, "Understanding neural networks through representation erasure".) There are none of a text
    with several outputs.
    """
    name = inspection.main
    if len(text.steps) > 1 or name not in text.unknown:
        return []
    vectors, unknown = text.vectors, text.unknown[name][0]
    length = len(text.tokens[name])
    found = []
    at_once = max(TOKENS_AT_ONCE // length, 1)
    for start in range(0, length, at_once):
        places = np.arange(start, min(start + at_once, length))
        rows = vectors.rows(np.zeros(len(places), int))
        at = np.stack([np.arange(len(places)), places], axis=1)
        values = tf.tensor_scatter_nd_update(rows.values[name], at, tf.gather(unknown, places))
        if rows.ids is not None:
            ids = tf.tensor_scatter_nd_update(rows.ids, at, tf.fill([len(places)], UNKNOWN_ID))
            rows = replace(rows, ids=ids)
        steps = np.full(len(places), text.steps[0], np.int32)
        logits = inspection.logits(rows.with_values({name: values}), steps)
        found += _parts(
            inspection,
            logits,
            [text.tokens[name][place] for place in places.tolist()],
            np.repeat(inspection.chosen(text), len(places)),
        )
    return found


def _predict(
    inspection: Inspection[Any, Any], text: Text, starts: np.ndarray, ends: np.ndarray, steps: np.ndarray
) -> list[Part]:
    """Return the predictions from parts of the main sequence, each with the output of one of its steps."""
    tokens = text.tokens[inspection.main]
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
        shown = [tokens[place] for place in (starts + steps)[chosen].tolist()]
        found += _parts(inspection, logits, shown, whole[chosen])
    return found


def _parts(
    inspection: Inspection[Any, Any], logits: tf.Tensor, tokens: Sequence[str], final: np.ndarray
) -> list[Part]:
    """Return what logits predict, float32 [B, C], and the probability of other classes, int [B]."""
    names = inspection.names
    probabilities = inspection.probabilities(logits).numpy()
    return [
        Part(token, names[own], float(row[own]), float(row[other]))
        for token, own, row, other in zip(
            tokens, inspection.classes(logits).numpy(), probabilities, final, strict=True
        )
    ]


def _final_classes(inspection: Inspection[Any, Any], text: Text, steps: np.ndarray) -> np.ndarray:
    """Return what is predicted from the whole text: of a network with an output a step, for each step."""
    if not inspection.per_step:
        return np.repeat(inspection.chosen(text), len(steps))
    found: np.ndarray = inspection.chosen(text._replace(steps=steps.tolist(), classes=None))
    return found
