"""Mixup of the pooled vectors of two rows, and of their targets (Zhang et al. 2018; Guo et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Mixing:
    """How the rows of a batch are mixed."""

    partners: tf.Tensor
    """The row that each row is mixed with: int32 [B]."""
    shares: tf.Tensor
    """The share of each row itself, from 0 to 1: float32 [B]."""

    @classmethod
    def of(cls, batch: Mapping[str, tf.Tensor]) -> Mixing | None:
        """Return how the rows of a batch are mixed; None: they are not."""
        return cls(batch["partners"], batch["shares"]) if "partners" in batch else None

    def others(self, values: tf.Tensor) -> tf.Tensor:
        """Return the values of the partners: [B, ...]."""
        import tensorflow as tf

        return tf.gather(values, self.partners)

    def partners_of(self, batch: Mapping[str, tf.Tensor], *names: str) -> dict[str, tf.Tensor]:
        """Return a batch in which each row has some arrays of its partner, as far as there are any."""
        return {**batch, **{name: self.others(batch[name]) for name in names if name in batch}}

    def vectors(self, own: tf.Tensor) -> tf.Tensor:
        """Mix vectors: float [B, D]."""
        import tensorflow as tf

        shares = tf.cast(self.shares, own.dtype)[:, tf.newaxis]
        return shares * own + (1 - shares) * self.others(own)

    def losses(self, own: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Mix the losses of the mixed vectors with the targets of the rows and of their partners: [B]."""
        return self.shares * own + (1 - self.shares) * others


def mixed_losses(
    mixing: Mixing | None,
    nats: Callable[[Mapping[str, tf.Tensor]], tf.Tensor],
    batch: Mapping[str, tf.Tensor],
    *names: str,
) -> tf.Tensor:
    """Return the loss of each row, mixed with that of its partner if the rows are mixed: float32 [B].

    Args:
        mixing: of the rows; None: they are not mixed.
        nats: from a batch to the loss of each row.
        batch: of the training.
        names: arrays that the loss of a partner reads, as far as there are any.
    """
    own = nats(batch)
    return own if mixing is None else mixing.losses(own, nats(mixing.partners_of(batch, *names)))
