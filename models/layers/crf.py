"""A linear-chain conditional random field, which scores tag sequences.

The score of tags y for emissions e is `start[y₁] + Σ e[t, yₜ] + Σ transitions[yₜ₋₁, yₜ] + end[y_T]`
(Lafferty et al. 2001). Everything is computed in float32, whatever the emissions are, and never depends on
steps beyond a row's length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.kernels.steps import last_step, reverse

Allowed = Sequence[Any]
"""The tags that may be first, follow each other, and be last: bool [K], [K, K] (from, to), [K]."""

# Sums over many thousand steps stay finite, so that only forbidden paths are -inf.
_LARGEST = 1e30

Join = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def _best(scores: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(scores[:, :, None] + transitions, axis=1)


def _all(scores: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(scores[:, :, None] + transitions, axis=1)


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _all_for_training(scores: tf.Tensor, transitions: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Return what `_all` returns; backpropagation keeps [B, K] a step, not several times [B, K, K]."""
    joined = _all(scores, transitions)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shares = tf.exp(scores[:, :, None] + transitions - joined[:, None, :]) * upstream[:, None, :]
        return tf.reduce_sum(shares, axis=2), tf.reduce_sum(shares, axis=0)

    return joined, gradient


def _forward(
    emissions: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, join: Join
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run the forward recursion (Rabiner 1989, equations 19 to 20; with the maximum, 32 to 33).

    Args:
        emissions: float32 [B, T, K].
        transitions: float32 [K, K], from the tag of the row to that of the column.
        start: float32 [K].
        join: how to combine the scores of paths that meet in a tag: [B, K], [K, K] → [B, K].

    Returns:
        joined scores of all paths up to a step that end there in a tag, [B, T, K], less the shift that
        makes the largest of a step 0; the shift of each step, on top of those before it, [B, T].
    """
    steps = tf.transpose(emissions, [1, 0, 2])

    def shifted(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # A constant, whatever its value, leaves the gradient of the whole alone.
        shift = tf.stop_gradient(tf.reduce_max(scores, axis=1))
        return scores - shift[:, None], shift

    def step(before: tuple[tf.Tensor, tf.Tensor], emission: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return shifted(join(before[0], transitions) + emission)

    first = shifted(start + steps[0])
    # One step too many, whose result is dropped: a loop without any cannot be stacked.
    following = tf.concat([steps[1:], tf.zeros_like(steps[:1])], axis=0)
    scores, shifts = (
        tf.concat([one[None], others[:-1]], axis=0)
        for one, others in zip(first, tf.scan(step, following, first), strict=True)
    )
    return tf.transpose(scores, [1, 0, 2]), tf.transpose(shifts)


def _finite(emissions: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(tf.cast(emissions, tf.float32), -_LARGEST, _LARGEST)


def viterbi(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    """Return the tags of the highest score (Viterbi 1967; Rabiner 1989, section III B).

    Args:
        emissions: float [B, T, K].
        lengths: int32 [B], each from 1 to T.
        transitions: float32 [K, K], from the tag of the row to that of the column; -inf forbids a path, as
            long as some path of the row's length is allowed.
        start: float32 [K], likewise.
        end: float32 [K], likewise.

    Returns:
        int32 [B, T]; 0 beyond a row's length.
    """
    emissions = _finite(emissions)
    scores, _ = _forward(emissions, transitions, start, _best)
    last = tf.argmax(last_step(scores, lengths) + end, axis=1, output_type=tf.int32)
    to = tf.transpose(transitions)

    def step(tags: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        return tf.argmax(before + tf.gather(to, tags), axis=1, output_type=tf.int32)

    backwards = tf.transpose(reverse(scores, lengths), [1, 0, 2])  # from each row's own last step on
    following = tf.concat([backwards[1:], tf.zeros_like(backwards[:1])], axis=0)
    tags = tf.transpose(tf.concat([last[None], tf.scan(step, following, last)[:-1]], axis=0))
    return tf.where(tf.sequence_mask(lengths, tf.shape(tags)[1]), reverse(tags, lengths), 0)


def marginals(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    """Return the probability of each tag at each step, over all paths (Rabiner 1989, equation 27).

    The arguments are those of `viterbi`. Forbidden paths have no probability.

    Returns:
        float32 [B, T, K]; 0 beyond a row's length.
    """
    emissions = _finite(emissions)
    forwards, _ = _forward(emissions, transitions, start, _all)
    backwards, _ = _forward(reverse(emissions, lengths), tf.transpose(transitions), end, _all)
    both = forwards + reverse(backwards, lengths) - emissions  # which both contain
    real = tf.sequence_mask(lengths, tf.shape(emissions)[1])[:, :, None]
    return tf.where(real, tf.nn.softmax(both), 0.0)


def _log_partition(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    """Return the logarithm of the summed exponentials of the scores of all paths: float32 [B]."""
    scores, shifts = _forward(emissions, transitions, start, _all_for_training)
    of_all = tf.reduce_logsumexp(last_step(scores, lengths) + end, axis=1)
    real = tf.sequence_mask(lengths, tf.shape(emissions)[1], tf.float32)
    return of_all + tf.reduce_sum(real * shifts, axis=1)


def forbidding(allowed: Allowed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores that forbid paths: (start, step, end) of bool → (transitions, start, end), 0 or -inf.

    Raises:
        ValueError: rows of some length have no allowed path.
    """
    start, step, end = (np.array(part, bool) for part in allowed)
    if not (start.ndim == 1 and step.shape == 2 * start.shape and end.shape == start.shape):
        shapes = ", ".join(str(list(part.shape)) for part in (start, step, end))
        raise ValueError(f"allowed is start [K], step [K, K] and end [K], got {shapes}")
    reached = start
    seen: set[bytes] = set()
    while reached.tobytes() not in seen:
        if not np.any(reached & end):
            raise ValueError(f"allowed leaves no tags for a row of {len(seen) + 1} steps")
        seen.add(reached.tobytes())
        reached = np.any(step[reached], axis=0)
    transitions, first, last = (
        np.where(part, np.float32(0), np.float32(-np.inf)) for part in (step, start, end)
    )
    return transitions, first, last


@keras.saving.register_keras_serializable("textrnn")
class CRF(keras.layers.Layer):
    """A layer with the scores of the first tag, the last tag and each pair of neighbours."""

    def __init__(self, tags: int, *, allowed: Allowed | None = None, **options: Any) -> None:
        """Create the layer.

        Args:
            tags: number of tags K.
            allowed: the paths of `decode` and `marginals`; None allows all. The likelihood is that of all
                paths.
            options: of `keras.layers.Layer`.
        """
        super().__init__(**{"dtype": "float32", **options})
        self.settings = {"tags": tags, "allowed": as_lists(allowed)}
        self.forbidden = None if allowed is None else forbidding(allowed)
        if self.forbidden is not None and len(self.forbidden[1]) != tags:
            raise ValueError(f"allowed is for {len(self.forbidden[1])} tags, the layer for {tags}")

    def build(self, *_: Any) -> None:
        """Create the weights. They are zeros at first, so that all paths have the same score."""
        tags = self.settings["tags"]
        for name, shape in (("transitions", (tags, tags)), ("start", (tags,)), ("end", (tags,))):
            weight = self.add_weight(shape=shape, initializer="zeros", name=name, autocast=False)
            setattr(self, name, weight)
        self.built = True

    def log_likelihood(self, emissions: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of each row's tags.

        Args:
            emissions: float [B, T, K].
            tags: int32 [B, T]; beyond a row's length any tag.
            lengths: int32 [B], each from 1 to T.

        Returns:
            float32 [B].
        """
        emissions = _finite(emissions)
        transitions, start, end = self._tensors()
        real = tf.sequence_mask(lengths, tf.shape(tags)[1], tf.float32)
        pairs = tf.stack([tags[:, :-1], tags[:, 1:]], axis=-1)
        path = (
            tf.gather(start, tags[:, 0])
            + tf.reduce_sum(real * tf.gather(emissions, tags, batch_dims=2), axis=1)
            + tf.reduce_sum(real[:, 1:] * tf.gather_nd(transitions, pairs), axis=1)
            + tf.gather(end, last_step(tags, lengths))
        )
        return path - _log_partition(emissions, lengths, transitions, start, end)

    def expected_log_likelihood(
        self,
        emissions: tf.Tensor,
        probabilities: tf.Tensor,
        lengths: tf.Tensor,
        temperature: tf.Tensor | float = 1.0,
    ) -> tf.Tensor:
        """Return the mean log-probability of tags that are drawn for each step on its own.

        With one-hot probabilities it is `log_likelihood`. With those of a teacher its negative is a
        cross-entropy of tag sequences, for a teacher whose tags are independent given the text; the pairwise
        probabilities of a teacher with a CRF (Wang et al. 2021, "Structural knowledge distillation") would
        take [B, T, K, K].

        Args:
            emissions: float [B, T, K].
            probabilities: float32 [B, T, K] of the tags; 0 beyond a row's length.
            lengths: int32 [B], each from 1 to T.
            temperature: all scores are divided by it.

        Returns:
            float32 [B].
        """
        emissions = _finite(emissions) / temperature
        transitions, start, end = (weight / temperature for weight in self._tensors())
        pairs = tf.einsum("btj,jk,btk->b", probabilities[:, :-1], transitions, probabilities[:, 1:])
        path = (
            tf.linalg.matvec(probabilities[:, 0], start)
            + tf.reduce_sum(probabilities * emissions, axis=[1, 2])
            + pairs
            + tf.linalg.matvec(last_step(probabilities, lengths), end)
        )
        return path - _log_partition(emissions, lengths, transitions, start, end)

    def decode(self, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the best allowed tags: [B, T, K], lengths int32 [B] → int32 [B, T], see `viterbi`."""
        return viterbi(emissions, lengths, *self._allowed_weights())

    def marginals(self, emissions: tf.Tensor, lengths: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
        """Return tag probabilities over allowed paths: [B, T, K], lengths int32 [B] → float32 [B, T, K].

        All scores are divided by the temperature.
        """
        weights = (weight / temperature for weight in self._allowed_weights())
        return marginals(_finite(emissions) / temperature, lengths, *weights)

    def call(self, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return what `decode` returns."""
        return self.decode(emissions, lengths)

    def _weights(self) -> tuple[Any, Any, Any]:
        return self.transitions, self.start, self.end

    def _tensors(self) -> tuple[tf.Tensor, ...]:
        return tuple(tf.convert_to_tensor(weight) for weight in self._weights())

    def _allowed_weights(self) -> tuple[tf.Tensor, ...]:
        weights = tuple(_finite(weight) for weight in self._weights())
        if self.forbidden is None:
            return weights
        return tuple(weight + barred for weight, barred in zip(weights, self.forbidden, strict=True))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that create this layer again."""
        return {**super().get_config(), **self.settings}


def as_lists(allowed: Allowed | None) -> list[Any] | None:
    """Return the same as plain lists of bool, as a configuration can hold it."""
    return None if allowed is None else [np.array(part, bool).tolist() for part in allowed]
