"""How many tokens an output needs: predictions from the last tokens before it alone.

A gradient says how a small change of a token changes the output. A state that small changes do not disturb
has a gradient near 0, and forgets nothing (Bengio et al. 1994). Leaving tokens out shows what is remembered
there, too (Khandelwal et al. 2018, "Sharp nearby, fuzzy far away: how neural language models use context").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from app.inspection.memory import DISTANCES, batches_of, measured_steps
from app.tasks.inspection import Inspection, Vectors

ENOUGH = 0.95
"""Share of the predictions that must stay the same."""


class Context(NamedTuple):
    """What becomes of the predictions if only the last tokens are read."""

    tokens: np.ndarray
    """int [K]: the numbers of tokens that are read; the last one is the length of the longest row."""
    same: np.ndarray
    """float [K]: the share of the outputs whose predicted class is that of the whole row."""
    sequence: str = ""
    """The name of the sequence of the tokens, if there are several."""

    @property
    def enough(self) -> int:
        """The fewest tokens from which on `ENOUGH` of the predictions are the same."""
        too_few = np.flatnonzero(self.same < ENOUGH)
        return int(self.tokens[too_few[-1] + 1 if len(too_few) else 0])

    def sentence(self) -> str:
        """Return what the numbers mean."""
        tokens = f"{self.sequence} tokens" if self.sequence else "tokens"
        return (
            f"{ENOUGH:.0%} of the predictions stay the same if only the last {self.enough} {tokens} are read."
        )

    def as_json(self) -> dict[str, Any]:
        """Return it by name."""
        return {"tokens": self.tokens.tolist(), "same": self.same.tolist(), "enough": self.enough}


def measure_context(inspection: Inspection[Any, Any], vectors: Vectors) -> Context:
    """Predict the outputs that `measure_memory` measures from fewer and fewer tokens before them.

    Args:
        inspection: of the network.
        vectors: of the rows.
    """
    steps = measured_steps(inspection, vectors)
    longest = int(steps.max()) + 1
    numbers = np.array([*(own + 1 for own in DISTANCES if own + 1 < longest), longest])
    same = np.zeros(len(numbers))
    for rows in batches_of(vectors.lengths[inspection.main].numpy()):
        part = vectors.rows(rows)
        predicted = [_classes(inspection, *last_tokens(inspection, part, steps[rows], n)) for n in numbers]
        same += [(own == predicted[-1]).sum() for own in predicted]
    return Context(numbers, same / len(steps), inspection.main if len(vectors.values) > 1 else "")


def last_tokens(
    inspection: Inspection[Any, Any], vectors: Vectors, steps: np.ndarray, number: int
) -> tuple[Vectors, np.ndarray]:
    """Remove all tokens of the main sequence but the last ones up to a step; those after the step remain.

    Args:
        inspection: of the network.
        vectors: of B rows.
        steps: int [B].
        number: of tokens that remain, the one of the step included.

    Returns:
        the rows, and where the steps are now: int [B].
    """
    main = inspection.main
    starts = np.maximum(steps + 1 - number, 0)
    lengths = vectors.lengths[main].numpy() - starts
    places = np.minimum(starts[:, np.newaxis] + np.arange(lengths.max()), vectors.values[main].shape[1] - 1)
    ids = None if vectors.ids is None else tf.gather(vectors.ids, places, batch_dims=1)
    values = {main: tf.gather(vectors.values[main], places, batch_dims=1)}
    kept = {**vectors.lengths, main: tf.constant(lengths, tf.int32)}
    return Vectors({**vectors.values, **values}, kept, ids), steps - starts


def _classes(inspection: Inspection[Any, Any], vectors: Vectors, steps: np.ndarray) -> np.ndarray:
    found: np.ndarray = inspection.classes(inspection.logits(vectors, steps)).numpy()
    return found
