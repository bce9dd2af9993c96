"""How far back a network remembers: gradients by the distance in tokens.

The gradient of an output with respect to the vector of the token k steps before tells how much that token
still counts. It shrinks, or grows, by about the same factor with each step of a recurrence (Bengio et al.
1994, "Learning long-term dependencies with gradient descent is difficult"; Pascanu et al. 2013).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from app.inspection.opened import Opened
from app.tasks.inspection import Inspection, Vectors
from data.batching import sorted_batches

ROWS_AT_ONCE = 64
TOKENS_AT_ONCE = 16_384
DISTANCES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377)
"""Those that tables have."""
FEWEST = 8
"""Fewest rows that a mean is taken over, or all rows if there are not so many."""
NOTHING = 1e-12
"""A gradient of less than this share of the largest one is 0, within the precision of float32."""


class Decay(NamedTuple):
    """The mean norm of a gradient by distance."""

    norms: np.ndarray
    """float [K]: the mean over the rows that have a token k steps away, for k from 0."""
    rows: np.ndarray
    """int [K]: their number."""

    @property
    def half(self) -> float:
        """Number of tokens, from the nearest one on, that have half of the sum of all norms.

        For a norm that shrinks by λ with each step of a long text it is log ½ / log λ. With a flat one, of a
        network that remembers everything, it is half of the length.
        """
        return share_within(self.norms, 0.5)

    @property
    def even(self) -> float:
        """What `half` would be if no token were forgotten."""
        return len(self.norms) / 2

    @property
    def factor(self) -> float | None:
        """The factor by which the norm changes with each step, on average; None: there are no steps, or 0.

        Below 1 the gradient vanishes, above 1 it explodes.
        """
        kept = np.flatnonzero(self.norms > NOTHING * self.norms.max(initial=0.0))
        if len(kept) < 2 or kept[0] == kept[-1]:
            return None
        slope = np.polyfit(kept, np.log(self.norms[kept]), 1)[0]
        return float(np.exp(slope))

    def as_json(self) -> dict[str, Any]:
        """Return it by name."""
        return {
            "norms": self.norms.tolist(),
            "rows": self.rows.tolist(),
            "half": self.half,
            "even": self.even,
            "factor": self.factor,
        }


def share_within(norms: np.ndarray, share: float) -> float:
    """Return the number of the first values whose sum is a share of the whole sum, interpolated.

    `share_within([2, 2, 4, 8], 0.5) -> 3.0`; 0 without any value above 0.
    """
    sums = np.cumsum(norms, dtype=np.float64)
    if not len(sums) or not sums[-1] > 0:
        return 0.0
    return float(np.interp(share * sums[-1], np.concatenate([[0.0], sums]), np.arange(len(sums) + 1)))


class Memory(NamedTuple):
    """How far an output sees."""

    back: dict[str, Decay]
    """By sequence: the tokens before the output, the nearest first. The distance along the sequence that the
    output is a step of counts from that step, along others from their end."""
    ahead: Decay | None
    """The tokens after the output, if it depends on them; the first one is the output's own."""

    def sentences(self) -> list[str]:
        """Return what the numbers mean."""
        found = []
        for name, decay in self.back.items():
            of = "" if len(self.back) == 1 else f"{name} "
            found.append(
                f"Half of the gradient reaches back {shown(decay.half)} {of}tokens or more "
                f"({shown(decay.even)} if nothing were forgotten)."
            )
        if self.ahead is not None:
            found.append(
                f"Half of the gradient reaches ahead {shown(self.ahead.half)} tokens or more "
                f"({shown(self.ahead.even)} if nothing were forgotten)."
            )
        return found


def measure_memory(inspection: Inspection[Any, Any], vectors: Vectors) -> Memory:
    """Measure the gradients of outputs with respect to the vectors of tokens.

    Of each row one output is measured: the last one, or if outputs see ahead, a random one. The score is that
    of what the model predicts, see `Inspection.scores`.

    Args:
        inspection: of the network.
        vectors: of the rows.
    """
    lengths = vectors.lengths[inspection.main].numpy()
    steps = measured_steps(inspection, vectors)
    back: dict[str, list[np.ndarray]] = {name: [] for name in vectors.values}
    ahead: list[np.ndarray] = []
    for rows in _batches(vectors):
        part = vectors.rows(rows)
        part = part.with_values(_trimmed(part))
        norms = gradient_norms(inspection, part, steps[rows])
        for name, of_sequence in norms.items():
            for row, own in zip(rows, of_sequence, strict=True):
                end = int(steps[row]) if name == inspection.main else int(vectors.lengths[name][row]) - 1
                back[name].append(own[end::-1])
                if inspection.sees_ahead and name == inspection.main:
                    ahead.append(own[end : lengths[row]])
    return Memory(
        {name: mean_by_distance(own) for name, own in back.items()},
        mean_by_distance(ahead) if ahead else None,
    )


def measured_steps(inspection: Inspection[Any, Any], vectors: Vectors) -> np.ndarray:
    """Return the step of each row whose output is measured: the last one, or a random one; int [B]."""
    lengths = vectors.lengths[inspection.main].numpy()
    if not inspection.sees_ahead:
        return np.asarray(lengths - 1)
    random = np.random.default_rng(0)
    return np.array([random.integers(length) for length in lengths])


def gradient_norms(
    inspection: Inspection[Any, Any], vectors: Vectors, steps: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the norm of the gradient of one score of each row for each token: float [B, T] by sequence."""
    values = dict(vectors.values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        logits = inspection.logits(vectors.with_values(values), steps)
        scores = inspection.scores(logits, tf.stop_gradient(inspection.classes(logits)))
    gradients = tape.gradient(scores, values)
    return {
        name: np.zeros(value.shape[:2])
        if gradients[name] is None
        else tf.norm(gradients[name], axis=-1).numpy()
        for name, value in values.items()
    }


def mean_by_distance(rows: list[np.ndarray]) -> Decay:
    """Return the mean over rows for each distance that enough of them have."""
    longest = max(map(len, rows), default=0)
    sums, counts = np.zeros(longest), np.zeros(longest, int)
    for row in rows:
        sums[: len(row)] += row
        counts[: len(row)] += 1
    kept = counts >= min(FEWEST, len(rows))
    return Decay(sums[kept] / counts[kept], counts[kept])


def horizon_of(opened: Opened) -> float:
    """Return how many tokens back half of the gradient of an output reaches: `Decay.half` of the input.

    Args:
        opened: a run whose data is there.

    Raises:
        UserError: its data is not there.
    """
    inspection = opened.inspection
    return measure_memory(inspection, opened.validation).back[inspection.main].half


def shown(value: float) -> str:
    """Return a number of tokens or steps for a sentence."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _batches(vectors: Vectors) -> list[np.ndarray]:
    return batches_of(np.max([lengths.numpy() for lengths in vectors.lengths.values()], axis=0))


def batches_of(lengths: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each batch: rows of similar length, of bounded size."""
    return sorted_batches(lengths, batch_size=ROWS_AT_ONCE, largest=TOKENS_AT_ONCE)


def _trimmed(vectors: Vectors) -> dict[str, tf.Tensor]:
    """Return vectors without the steps beyond the longest row."""
    return {
        name: value[:, : int(tf.reduce_max(vectors.lengths[name]))] for name, value in vectors.values.items()
    }
