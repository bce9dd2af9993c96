"""Tags of spans, learned as BIOES: the last token of a span has a tag of its own (Ratinov and Roth 2009).

A tag that the next token may continue is learned as two: as it is where the next token continues its span
(B, I), and as another one where the span ends (S, E). Learned tags are those of the data, with their ids,
followed by the second ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

NOTHING = -1


class SpanEnds:
    """Conversion between the tags of the data and the learned ones."""

    def __init__(self, inside: Sequence[int]) -> None:
        """Initialize.

        Args:
            inside: for each of K tags the id of the tag that continues its span, or `NOTHING`.
        """
        self.inside = np.array(inside, np.int32)
        self._split = np.flatnonzero(self.inside != NOTHING).astype(np.int32)
        self.size = len(inside) + len(self._split)
        """Number of learned tags."""
        self.answers = np.concatenate([np.arange(len(inside), dtype=np.int32), self._split])
        """The tag of the data of each learned one: int32 [size]."""
        self._ending = np.arange(len(inside), dtype=np.int32)
        self._ending[self._split] = np.arange(len(inside), self.size)

    def learned(self, tags: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the learned tags of those of the data: int32 [B, T], lengths int32 [B] → int32 [B, T].

        With `inside=[1, 1, NOTHING]` for B, I and O: `[[0, 1, 1, 0, 2]] -> [[0, 1, 4, 3, 2]]`
        """
        following = tf.concat([tags[:, 1:], tf.zeros_like(tags[:, :1])], axis=1)
        has_next = tf.sequence_mask(lengths - 1, tf.shape(tags)[1])
        continued = has_next & tf.equal(following, tf.gather(self.inside, tags))
        return tf.where(continued, tags, tf.gather(self._ending, tags))

    def of_data(self, learned: tf.Tensor) -> tf.Tensor:
        """Return the tags of the data of learned ones: int32 [...] → int32 [...]."""
        return tf.gather(self.answers, learned)

    def joined(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of the tags of the data: float [..., size] → float [..., K]."""
        members = self.answers[:, np.newaxis] == np.arange(len(self.inside))
        return tf.tensordot(probabilities, tf.constant(members, probabilities.dtype), axes=1)
