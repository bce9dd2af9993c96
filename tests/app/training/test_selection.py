from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from trained import PLAIN, Weights, metrics, same, weights

from app.config import TaskConfig
from app.metrics import ACCURACY, BLEU, LOSS, PERPLEXITY
from app.tasks import get_task
from app.train import train
from app.training.selection import Selection, selecting_metric
from data.errors import UserError

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


class Script:
    """Validation metrics that are given, and the weights for which they were asked."""

    def __init__(self, **values: Sequence[float]) -> None:
        self.values = values
        self.seen: list[Weights] = []

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return the metrics of the next epoch."""
        epoch = len(self.seen)
        self.seen.append([value.copy() for value in model.get_weights()])
        return {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.5} | {k: v[epoch] for k, v in self.values.items()}


@pytest.fixture
def scripted(
    monkeypatch: pytest.MonkeyPatch, configured: Configured, reviews: Path, tmp_path: Path
) -> Callable[..., tuple[Path, Script]]:
    """Return a function that trains with given validation metrics."""

    def run_script(*options: str, **values: Sequence[float]) -> tuple[Path, Script]:
        script = Script(**values)
        monkeypatch.setattr(
            type(get_task("classification").training),
            "evaluator",
            lambda training, model, *rest: lambda: script.evaluate(model),
        )
        usual = (
            "training.epochs=6",
            "training.learning_rate=0.05",
            "training.early_stopping_metric=accuracy",
        )
        config = configured(*PLAIN, *usual, *options)
        return train("classification", str(reviews), config, run=tmp_path / "run").path, script

    return run_script


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("accuracy", [0.5, 0.8, 0.6, 0.7, 0.9, 0.9]),
        ("macro_f1", [0.5, 0.8, 0.6, 0.7, 0.9, 0.9]),
        ("loss", [0.9, 0.3, 0.5, 0.4, 0.2, 0.2]),
    ],
)
def test_early_stopping(
    scripted: Callable[..., tuple[Path, Script]], metric: str, values: list[float]
) -> None:
    """After so many epochs without a better one the training ends; the best one's weights are kept."""
    run, script = scripted(
        "training.early_stopping_patience=2", f"training.early_stopping_metric={metric}", **{metric: values}
    )

    assert [line["best"] for line in metrics(run)] == [True, True, False, False]
    assert same(weights(run), script.seen[1])
    assert not same(script.seen[1], script.seen[3])


def test_without_early_stopping(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """With a patience of 0 all epochs are trained, and the best one's weights are kept all the same."""
    run, script = scripted("training.early_stopping_patience=0", accuracy=[0.9, 0.1, 0.2, 0.3, 0.4, 0.5])

    assert [line["best"] for line in metrics(run)] == [True] + [False] * 5
    assert same(weights(run), script.seen[0])


def test_the_loss_decides_between_equals(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """Of epochs with the same accuracy the one with the lowest loss is the best."""
    run, script = scripted(
        "training.early_stopping_patience=0", accuracy=[0.5] * 6, loss=[0.7, 0.6, 0.6, 0.5, 0.8, 0.9]
    )

    assert [line["best"] for line in metrics(run)] == [True, True, False, True, False, False]
    assert same(weights(run), script.seen[3])


def test_plateau_schedule(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """The rate is halved after two epochs without a better one, and again after two more."""
    run, _ = scripted(
        "training.schedule=plateau",
        "training.early_stopping_patience=0",
        "training.epochs=8",
        accuracy=[0.5, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.4],
    )

    rates = [line["learning_rate"] for line in metrics(run)]
    assert rates == pytest.approx([0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125])


def test_constant_schedule(scripted: Callable[..., tuple[Path, Script]]) -> None:
    """A constant rate stays."""
    run, _ = scripted("training.schedule=constant", "training.epochs=3", accuracy=[0.5, 0.4, 0.4])

    assert [line["learning_rate"] for line in metrics(run)] == pytest.approx([0.05] * 3)


# Without a training


def test_a_metric_that_is_minimised() -> None:
    """The epoch with the lowest perplexity is the best."""
    selection = Selection()

    better = [
        selection.add(i, PERPLEXITY, {"perplexity": p, "loss": 1.0}) for i, p in enumerate([9, 7, 8, 6])
    ]

    assert better == [True, True, False, True]
    assert selection.best_epoch == 3


def test_ties() -> None:
    """Of equal epochs the one with the lower loss is better; of all equal ones the first."""
    selection = Selection()
    losses = [0.5, 0.5, 0.4, 0.6]

    better = [selection.add(i, BLEU, {"bleu": 1.0, "loss": loss}) for i, loss in enumerate(losses)]

    assert better == [True, False, True, False]


def test_patience() -> None:
    """Training stops after so many epochs without improvement; a patience of 0 never stops it."""
    selection = Selection()
    for epoch, loss in enumerate([1.0, 2.0, 2.0]):
        selection.add(epoch, LOSS, {"loss": loss})

    assert selection.stops(2)
    assert not selection.stops(3)
    assert not selection.stops(0)


def test_no_stop_while_the_loss_falls() -> None:
    """A metric that stays near 0 stops no training whose loss falls; such epochs are not the best ones."""
    selection = Selection()
    values = [(0.04, 5.0), (0.03, 4.0), (0.0, 3.0), (0.02, 2.0), (0.01, 2.0), (0.03, 2.5)]

    better = [
        selection.add(epoch, BLEU, {"bleu": bleu, "loss": loss}) for epoch, (bleu, loss) in enumerate(values)
    ]

    assert better == [True] + [False] * 5
    assert selection.stale_epochs == 2
    assert selection.stops(2)
    assert not selection.stops(3)


def test_no_stop_while_the_recurrent_branch_learns() -> None:
    """A linear model that decides metric and loss stops no training in which the recurrent branch learns."""
    selection = Selection()
    losses = [0.695, 0.693, 0.694, 0.61, 0.47, 0.5]

    better = [
        selection.add(epoch, ACCURACY, {"accuracy": 0.84, "loss": 0.38, "recurrent_loss": loss})
        for epoch, loss in enumerate(losses)
    ]

    assert better == [True] + [False] * 5
    assert selection.stale_epochs == 1


def test_progress_of_earlier_versions() -> None:
    """A state without a loss of the recurrent branch is continued: the next epoch counts as progress."""
    selection = Selection(best=[0.84, -0.38], best_epoch=0, lowest_loss=0.38, stale_epochs=3)
    assert selection.lowest_recurrent_loss is None

    assert not selection.add(4, ACCURACY, {"accuracy": 0.84, "loss": 0.38, "recurrent_loss": 0.7})
    assert selection.stale_epochs == 0


def test_a_better_metric_with_a_higher_loss() -> None:
    """Patience counts from the last epoch in which either of the two improved."""
    selection = Selection()
    for epoch, (bleu, loss) in enumerate([(1.0, 2.0), (1.0, 3.0), (4.0, 4.0), (3.0, 5.0)]):
        selection.add(epoch, BLEU, {"bleu": bleu, "loss": loss})

    assert (selection.best_epoch, selection.stale_epochs) == (2, 1)


def test_the_metric_that_selects(configured: Configured) -> None:
    """It is one of those that are available; the message for another one names these."""
    config = configured("training.early_stopping_metric=loss")

    assert selecting_metric([ACCURACY, LOSS], config) is LOSS
    with pytest.raises(UserError) as caught:
        selecting_metric([ACCURACY, BLEU], config)
    assert str(caught.value) == (
        "training.early_stopping_metric = 'loss': expected one of accuracy, bleu, "
        "the metrics that this task has on this data"
    )
