"""Distillation: a teacher's probabilities as further targets of a batch.

A batch with a teacher has arrays of probabilities beside the true labels, and two scalars. The loss is
`(1 - w) H(labels, p₁) + w T² H(teacher, p_T)`, where H is the cross-entropy and p_T are the student's
probabilities at the temperature T: of its logits divided by T. The factor T² keeps the size of the gradients
(Hinton et al. 2015, section 2). The teacher's probabilities are the mean of those of several networks at the
same temperature (Bucila et al. 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

PREFIX = "teacher_"
WEIGHT, TEMPERATURE = "teacher_weight", "teacher_temperature"
"""Scalars of a batch."""


def taught(
    nats: tf.Tensor,
    batch: Mapping[str, tf.Tensor],
    name: str,
    soft: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Return losses with the share of the teacher, if the batch has one.

    Args:
        nats: float32 [...], losses of the true labels.
        batch: of the training.
        name: of the teacher's probabilities.
        soft: from those and the temperature to losses of the shape of `nats`.
    """
    if PREFIX + name not in batch:
        return nats
    weight, temperature = batch[WEIGHT], batch[TEMPERATURE]
    return (1 - weight) * nats + weight * temperature**2 * soft(batch[PREFIX + name], temperature)
