"""The optimizer, its learning-rate schedule, and gradient clipping."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from app.config import TrainingConfig
from app.training.fused import SGD, Adam, AdamW

MOMENTUM = 0.9
FINAL_RATE = 0.02
"""Learning rate at the end of the cosine schedule, as a fraction of the highest one."""


def build_optimizer(training: TrainingConfig, total_steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer with its schedule.

    `cosine` (Loshchilov and Hutter 2017) rises linearly from 0 and then falls. The other schedules start at
    the highest learning rate.
    """
    rate: Any = training.learning_rate
    if training.schedule == "cosine":
        warmup = round(training.warmup * total_steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(total_steps - warmup, 1),
            alpha=FINAL_RATE,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    options = {"learning_rate": rate, "weight_decay": training.weight_decay or None}
    if training.optimizer == "sgd":
        return SGD(momentum=MOMENTUM, **options)
    if training.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(**options)
    if training.optimizer == "adamw":
        return AdamW(**(options | {"weight_decay": training.weight_decay}))
    return Adam(**options)


def clip(
    gradients: list[tf.Tensor], training: TrainingConfig
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Clip gradients (Pascanu et al. 2013).

    Args:
        gradients: dense, one for each variable.
        training: `clip_value` limits each element; else `clip_norm` limits the global norm.

    Returns:
        the clipped gradients, their global norm before clipping, whether they were clipped, and their global
        norm afterwards.
    """
    norm = tf.linalg.global_norm(gradients)
    if training.clip_value:
        limit = training.clip_value
        largest = tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in gradients])
        limited = [tf.clip_by_value(g, -limit, limit) for g in gradients]
        return limited, norm, largest > limit, tf.linalg.global_norm(limited)
    if training.clip_norm:
        clipped, _ = tf.clip_by_global_norm(gradients, training.clip_norm, use_norm=norm)
        return clipped, norm, norm > training.clip_norm, tf.minimum(norm, training.clip_norm)
    return gradients, norm, tf.constant(False), norm
