"""The number of epochs of a training."""

from __future__ import annotations

from app.config import TaskConfig

FEWEST_EPOCHS, MOST_EPOCHS = 2, 30


def resolve_epochs(config: TaskConfig, tokens: int, *, to_learn_from: int) -> TaskConfig:
    """Set `training.epochs` if it is 0: more epochs for a short training text, fewer for a long one.

    Args:
        config: with or without a number of epochs.
        tokens: number of tokens of the training text.
        to_learn_from: tokens that all epochs together should have.
    """
    if config.training.epochs:
        return config
    return with_epochs(config, min(max(round(to_learn_from / max(tokens, 1)), FEWEST_EPOCHS), MOST_EPOCHS))


def with_epochs_of(before: TaskConfig, config: TaskConfig) -> TaskConfig:
    """Return a configuration with the epochs of a run if it leaves their number open."""
    return config if config.training.epochs else with_epochs(config, before.training.epochs)


def with_epochs(config: TaskConfig, epochs: int) -> TaskConfig:
    """Return a configuration with a number of epochs."""
    return config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs})})
