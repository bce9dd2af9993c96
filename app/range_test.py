"""`textrnn tune lr`: the loss at growing learning rates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.config import TaskConfig, load_config
from app.config.sections import LEARN
from app.pictures import picture
from app.tasks import get_task
from app.tasks.opening import prepare_data, pretrained_from
from app.training.events import DivergedError, Message, Step, Watcher, watched
from app.training.network import new_model
from data.errors import UserError

if TYPE_CHECKING:
    from app.training.fit import Fit

MEMORY = 0.9
"""Weight of the losses so far in the smoothed loss."""
CERTAIN = 4.0
"""Standard deviations by which the smoothed loss must fall."""
DIVERGED = 4.0
"""Multiple of the lowest smoothed loss at which the test ends."""


def range_test(
    task: str,
    data: str,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 200,
    config_file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    manual_directory: Path | None = None,
    watcher: Watcher = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train a new network while the learning rate grows, and suggest a rate (Smith 2017).

    Args:
        task: name of the task.
        data: DATA, as of `app.train.train`.
        lowest: learning rate of the first step.
        highest: of the last one; the test ends earlier when the loss diverges.
        steps: number of steps.
        config_file: configuration of the network, as the next two; its schedule has no effect.
        preset: named configuration.
        overrides: `KEY=VALUE`.
        manual_directory: raw files of a catalogue dataset.
        watcher: called with each step, and with messages.
        should_stop: called after each step.

    Returns:
        `task`, `data`, the `suggested` learning rate, and as `rows` of each step its `learning_rate`, its
        `loss` in nats, and the `smoothed` loss, an exponential moving average; None if it was stopped.

    Raises:
        UserError: data or configuration are not valid; the range is empty; or the loss never falls.
    """
    if lowest >= highest:
        raise UserError(f"--from {lowest:g} is not less than --to {highest:g}")
    config = load_config(task, file=config_file, preset=preset, overrides=overrides)
    fit = watched(_prepared(task, data, config, steps, manual_directory), watcher)
    rates = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]
    rows: list[dict[str, float]] = []
    with closing(_losses(fit, rates, watcher)) as losses:
        for rate, loss in zip(rates, losses, strict=False):
            losses_so_far = [*(row["loss"] for row in rows), loss]
            rows.append({"learning_rate": rate, "loss": loss, "smoothed": smoothed(losses_so_far)})
            if should_stop():
                return None
            if rows[-1]["smoothed"] > DIVERGED * min(row["smoothed"] for row in rows):
                break
    return {"task": task, "data": data, "suggested": suggested(rows), "rows": rows}


def smoothed(losses: Sequence[float]) -> float:
    """Return the exponential moving average of losses, its beginning corrected (Kingma and Ba 2015).

    `smoothed([2.0]) -> 2.0`
    """
    weights = MEMORY ** np.arange(len(losses))[::-1]
    return float(np.average(losses, weights=weights))


def suggested(rows: Sequence[Mapping[str, float]]) -> float:
    """Return the learning rate at which the smoothed loss falls most, per step, before it is lowest.

    Raises:
        UserError: it falls no more than it does by chance, from batch to batch.
    """
    losses, averages = (np.array([row[name] for row in rows]) for name in ("loss", "smoothed"))
    lowest = int(averages.argmin())
    beginning = losses[: max(len(losses) // 4, 3)]
    # Of a moving average of independent losses, each with the deviation of a difference of two over √2.
    chance = np.std(np.diff(beginning)) / 2**0.5 * ((1 - MEMORY) / (1 + MEMORY)) ** 0.5
    if lowest < 2 or np.mean(beginning) - averages[lowest] <= CERTAIN * chance:
        raise UserError(
            "the loss does not fall at any learning rate, at least not by more than from batch to batch; "
            "give more --steps, or a range of other rates with --from and --to"
        )
    return rows[int(np.gradient(averages[: lowest + 1]).argmin())]["learning_rate"]


def _prepared(
    task_name: str, data: str, config: TaskConfig, steps: int, manual_directory: Path | None
) -> Generator[Message, None, Fit]:
    """Return the training of a new network at a constant learning rate, with enough epochs."""
    from app.training.encode import encode_and_batch
    from app.training.fit import Fit
    from app.training.kernels import choose_kernels
    from app.training.pretrained import copy_encoder, open_language_model, read_language_model
    from app.training.selection import selecting_metric
    from app.training.word_vectors import learned_vectors

    task = get_task(task_name)
    if pretrained_from(config) == LEARN:
        raise UserError("model.pretrained = 'learn': give the run of a language model, or leave it out")
    source = open_language_model(config, None)
    dataset, config = prepare_data(data, task, config, manual_directory)
    found = encode_and_batch(dataset, task, config, config.data_directory())
    preprocessing, batches = found.preprocessing, found.batches
    once = {"schedule": "constant", "epochs": steps, "early_stopping_patience": 0, "steps_per_checkpoint": 0}
    config = config.model_copy(update={"training": config.training.model_copy(update=once)})
    counts = task.examples.token_counts(found.encoded, preprocessing, config)
    model = new_model(task, config, preprocessing, counts, partial(learned_vectors, found, task, config))
    if source:
        copy_encoder(read_language_model(source), task, model, preprocessing.vocabulary, config)
    yield from choose_kernels(model, config, None)
    fit = Fit(
        task,
        model,
        config,
        metric=selecting_metric(task.training.metrics(preprocessing), config),
        train=batches["train"],
        validation=batches["validation"],
        preprocessing=preprocessing,
    )
    for sentence in task.training.start(model, batches["train"], preprocessing, config):
        yield Message(sentence)
    return fit


def _losses(fit: Fit, rates: Sequence[float], watcher: Watcher) -> Generator[float, None, None]:
    """Train a step at each learning rate, and yield its loss; end where the loss is not finite."""
    events, before = fit.events(), (0.0, 0.0)
    with closing(events):
        for rate in rates:
            fit.optimizer.learning_rate = rate
            try:
                while not isinstance(event := next(events), Step):
                    before = 0.0, 0.0  # the totals are those of an epoch
            except DivergedError:
                return
            watcher(event)
            totals = fit.state.totals
            yield (totals.loss - before[0]) / (totals.count - before[1])
            before = totals.loss, totals.count


def draw(found: Mapping[str, Any], output: Path) -> None:
    """Draw the loss of each step, the smoothed loss and the suggested rate.

    Args:
        found: of `range_test`.
        output: an SVG or PNG file.

    Raises:
        UserError: Matplotlib is not installed, or the file cannot be written.
    """
    rates = [row["learning_rate"] for row in found["rows"]]
    with picture(output, 8, 4) as figure:
        axes = figure.subplots()
        axes.plot(rates, [row["loss"] for row in found["rows"]], alpha=0.3, label="loss")
        axes.plot(rates, [row["smoothed"] for row in found["rows"]], color="C0", label="smoothed loss")
        axes.axvline(found["suggested"], color="C1", label=f"suggested: {found['suggested']:.2g}")
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss, nats")
        axes.grid(axis="y", alpha=0.3)
        axes.legend()
