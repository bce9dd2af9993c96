"""How much each token of a text counts for a prediction: integrated gradients.

Sundararajan et al. 2017, "Axiomatic attribution for deep networks", equation 1. The influences of all tokens
sum to the score of the text minus that of a text of as many unknown tokens (completeness), which is checked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from app.tasks.inspection import Inspection, Line, Text

POINTS = 8
"""Of Gauss-Legendre quadrature on each piece of the line."""
TOLERANCE = 5e-4
"""Largest sum of the errors of all pieces; where it is larger, pieces are halved."""
ROUNDS = 14
"""Most times that a piece is halved."""
MOST_PIECES = 512
"""Most pieces that are halved at once."""
VALUES_AT_ONCE = 2**22
"""Most values of all points that are computed at once."""


class Influence(NamedTuple):
    """The influence of tokens on R outputs."""

    tokens: dict[str, np.ndarray]
    """By sequence: float [R, T]; positive for the output, negative against it."""
    difference: np.ndarray
    """float [R]: the score of the text minus that of unknown tokens."""
    error: np.ndarray
    """float [R]: the absolute difference between the sum of the influences and `difference`."""
    classes: np.ndarray
    """int32 [R]: whose score it is."""


def influence(inspection: Inspection[Any, Any], text: Text, *, tolerance: float = TOLERANCE) -> Influence:
    """Compute the influence of each token of a text on its outputs.

    Args:
        inspection: of the network.
        text: as the network reads it.
        tolerance: as `TOLERANCE`.
    """
    line = inspection.line(text)
    gradients, difference = mean_gradients(line, tolerance=tolerance)
    tokens = line.of_tokens(gradients)
    total = sum(own.sum(axis=1) for own in tokens.values())
    return Influence(tokens, difference, np.abs(total - difference), inspection.chosen(text))


class _Piece(NamedTuple):
    output: int
    start: float
    end: float
    difference: float
    """Score at the end minus score at the start."""


def mean_gradients(line: Line, *, tolerance: float = TOLERANCE) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the mean of the gradients along a line for each output, and the differences of its ends.

    The integral of a piece is known, it is the difference of the scores at its ends. So pieces are halved
    where the sum of gradients is not near it: at the kinks of a maximum or of a rectifier.

    Returns:
        float64 [R, …] for each of `Line.ends`; float64 [R].
    """
    numbers = range(line.outputs)
    ends = _scores(line, [(output, share) for output in numbers for share in (0.0, 1.0)])
    difference = ends[1::2] - ends[::2]
    pending = [_Piece(output, 0.0, 1.0, float(difference[output])) for output in numbers]
    found = [np.zeros((line.outputs, *end.shape[1:])) for end in line.ends]
    accepted = np.zeros(line.outputs)
    for left in reversed(range(ROUNDS + 1)):
        means, errors = _integrals(line, pending)
        total = accepted.copy()
        np.add.at(total, [piece.output for piece in pending], errors)
        split: list[_Piece] = []
        order = np.argsort(-errors)
        for place in order:
            piece, error = pending[place], errors[place]
            small = error <= tolerance / 64 or total[piece.output] <= tolerance
            if not (small or not left or len(split) == MOST_PIECES):
                split.append(piece)
                continue
            accepted[piece.output] += error
            for own, mean in zip(found, means, strict=True):
                own[piece.output] += (piece.end - piece.start) * mean[place]
        if not split:
            break
        middles = [(piece.output, (piece.start + piece.end) / 2) for piece in split]
        starts = [(piece.output, piece.start) for piece in split]
        first = _scores(line, middles) - _scores(line, starts)
        pending = []
        for piece, (_, middle), of_first in zip(split, middles, first.tolist(), strict=True):
            pending.append(_Piece(piece.output, piece.start, middle, of_first))
            pending.append(_Piece(piece.output, middle, piece.end, piece.difference - of_first))
    return found, difference


def _integrals(line: Line, pieces: list[_Piece]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the mean gradient of each piece, [pieces, …], and the error of what it sums to, [pieces]."""
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    places = [
        (piece.output, piece.start + (piece.end - piece.start) * float(node + 1) / 2)
        for piece in pieces
        for node in nodes
    ]
    _, gradients = _evaluate(line, places, with_gradients=True)
    means = [
        np.tensordot(own.reshape(len(pieces), POINTS, *own.shape[1:]), weights / 2, axes=(1, 0))
        for own in gradients
    ]
    sums = np.zeros(len(pieces))
    for mean, start, end in zip(means, line.starts, line.ends, strict=True):
        sums += (mean * (end.numpy() - start.numpy())).reshape(len(pieces), -1).sum(axis=1)
    widths = np.array([piece.end - piece.start for piece in pieces])
    return means, np.abs(widths * sums - [piece.difference for piece in pieces])


def _scores(line: Line, places: list[tuple[int, float]]) -> np.ndarray:
    return _evaluate(line, places, with_gradients=False)[0]


def _evaluate(
    line: Line, places: list[tuple[int, float]], *, with_gradients: bool
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return scores, float64 [N], and gradients, [N, …] each, at places: an output, a share of the line."""
    size = sum(int(np.prod(end.shape)) for end in line.ends)
    at_once = max(VALUES_AT_ONCE // max(size, 1), 1)
    scores, gradients = [], []
    for i in range(0, len(places), at_once):
        outputs = np.array([output for output, _ in places[i : i + at_once]])
        shares = np.array([share for _, share in places[i : i + at_once]], np.float32)
        points = []
        for start, end in zip(line.starts, line.ends, strict=True):
            share = shares.reshape(-1, *[1] * (len(end.shape) - 1))
            points.append(start + share * (end - start))
        with tf.GradientTape() as tape:
            tape.watch(points)
            found = line.score(points, outputs)
        scores.append(found.numpy().astype(np.float64))
        if with_gradients:
            zero = tf.UnconnectedGradients.ZERO
            gradients.append([g.numpy() for g in tape.gradient(found, points, unconnected_gradients=zero)])
    return np.concatenate(scores), [np.concatenate(own) for own in zip(*gradients, strict=True)]
