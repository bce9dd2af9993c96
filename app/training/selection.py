"""The best epoch, early stopping, and when the `plateau` schedule lowers the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.config import TaskConfig
from app.metrics import LOSS, RECURRENT_LOSS, Metric
from data.errors import UserError
from models.settings import OneOf

PLATEAU_PATIENCE = 1
"""Epochs without improvement that the `plateau` schedule accepts before it lowers the learning rate."""


def selecting_metric(available: Sequence[Metric], config: TaskConfig) -> Metric:
    """Return the validation metric that selects the best epoch.

    Args:
        available: metrics that the task has on this data.
        config: names the metric.

    Raises:
        UserError: the metric is not available.
    """
    name = config.training.early_stopping_metric
    for metric in available:
        if metric.name == name:
            return metric
    names = ", ".join(metric.name for metric in available)
    raise UserError(
        f"training.early_stopping_metric = {name!r}: expected one of {names}, "
        "the metrics that this task has on this data"
    )


def configured_metric(config: TaskConfig) -> Metric:
    """Return the metric that a configuration names; with some data another one takes its place."""
    field = type(config.training).model_fields["early_stopping_metric"]
    names = next(item.names for item in field.metadata if isinstance(item, OneOf))
    metric = names[config.training.early_stopping_metric]
    assert isinstance(metric, Metric)
    return metric


@dataclass
class Selection:
    """Which epoch was the best, and how long ago."""

    best: list[float] | None = None
    """Score of the best epoch: larger is better, compared element by element."""
    best_epoch: int = -1
    """From 0."""
    lowest_loss: float | None = None
    lowest_recurrent_loss: float | None = None
    stale_epochs: int = 0
    """Epochs since the best one, or since a loss was lowest if that is later."""
    plateau_epochs: int = 0
    """Epochs since the best one, or since the learning rate was lowered."""

    def add(self, epoch: int, metric: Metric, validation: Mapping[str, float]) -> bool:
        """Take the validation metrics of an epoch into account.

        While the loss still falls the network learns, even if the metric does not show it: BLEU stays near 0
        until whole phrases are right. It also learns while the loss of its recurrent branch falls: the linear
        model, which is fitted before the first epoch, decides all other metrics until the recurrent branch is
        as good. Such an epoch is not stale, nor the best one for its loss alone.

        Args:
            epoch: its number, from 0.
            metric: selects the best epoch; of equal epochs the one with the lower loss is better.
            validation: by name, `loss` included, and `recurrent_loss` if there is a linear model.

        Returns:
            whether it is the best epoch so far.
        """
        loss, recurrent_loss = validation[LOSS.name], validation.get(RECURRENT_LOSS.name)
        falls = _is_lower(loss, self.lowest_loss)
        if falls:
            self.lowest_loss = loss
        if recurrent_loss is not None and _is_lower(recurrent_loss, self.lowest_recurrent_loss):
            self.lowest_recurrent_loss, falls = recurrent_loss, True
        score = [metric.score(validation[metric.name]), -loss]
        best = self.best is None or score > self.best
        if best:
            self.best, self.best_epoch = score, epoch
        self.stale_epochs = 0 if best or falls else self.stale_epochs + 1
        self.plateau_epochs = 0 if best else self.plateau_epochs + 1
        return best

    def forget_best(self) -> None:
        """Let the next epoch be the best one so far."""
        self.best, self.best_epoch = None, -1

    def stops(self, patience: int) -> bool:
        """Return whether training stops early; a patience of 0 never stops."""
        return bool(patience) and self.stale_epochs >= patience

    def reached_plateau(self) -> bool:
        """Return whether the learning rate must be lowered now, and count anew if so."""
        if self.plateau_epochs <= PLATEAU_PATIENCE:
            return False
        self.plateau_epochs = 0
        return True


def _is_lower(value: float, lowest: float | None) -> bool:
    return lowest is None or value < lowest
