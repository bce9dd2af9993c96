"""Whether the training of a run directory can be resumed, and what changes its course."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.artifacts.files import versions
from app.artifacts.manifests import RunManifest
from app.artifacts.run import CONFIG, open_run
from app.config import FREE_ON_RESUME, TaskConfig, changes_of_course, differences, load_config
from app.training.optimizer import FINAL_RATE
from app.training.state import STATE, TrainingState, read_progress
from data.errors import UserError
from data.prepared import Dataset


def config_of_run(run: Path) -> TaskConfig:
    """Return the configuration of a run, finished or not."""
    return load_config(file=run / CONFIG, require_format=True)


def check_same(
    run: Path,
    manifest: RunManifest,
    before: TaskConfig,
    config: TaskConfig,
    dataset: Dataset,
    data: str,
    *,
    unlabelled: Dataset | None = None,
) -> None:
    """Require the data and the configuration of a run, and unchanged files if it is finished.

    Args:
        run: the run directory.
        manifest: of the run.
        before: configuration of the run.
        config: of the command.
        dataset: of the command.
        data: DATA of the command.
        unlabelled: texts without labels, of the command.

    Raises:
        UserError: something differs; the message has both values.
    """
    if manifest.dataset_hash != dataset.hash:
        raise UserError(
            f"{run}: cannot be resumed: it was trained on other data: dataset_hash was "
            f"{manifest.dataset_hash!r} of {manifest.data}, is {dataset.hash!r} of {data}; restore "
            "the data, or train a new run"
        )
    own = unlabelled.hash if unlabelled else ""
    if manifest.unlabelled_hash and own and manifest.unlabelled_hash != own:
        raise UserError(
            f"{run}: cannot be resumed: the texts of data.unlabelled have changed: their hash was "
            f"{manifest.unlabelled_hash!r}, is {own!r}; restore them, or train a new run"
        )
    if changed := differences(before, config):
        raise UserError(
            f"{run}: cannot be resumed with another configuration: {'; '.join(changed)}; "
            f"only these may change: {', '.join(FREE_ON_RESUME)}; train a new run for anything else"
        )
    if manifest.complete:
        open_run(run)


def remaining(run: Path, manifest: RunManifest, before: TaskConfig, config: TaskConfig) -> bool:
    """Return whether there is something to train, with what `config` changes.

    Args:
        run: the run directory, of which `check_same` found nothing wrong.
        manifest: of the run.
        before: configuration of the run.
        config: with the number of epochs that are wanted.

    Raises:
        UserError: the training cannot take this course.
    """
    changed = changes_of_course(before, config)
    if manifest.complete and not changed:
        return False
    state = read_progress(run)
    if state is None:
        if manifest.complete:
            raise UserError(
                f"{run}: cannot be continued ({'; '.join(changed)}): its training state, {run / STATE}, is "
                "missing; train a new run"
            )
        return True
    begun = state.epoch + bool(state.step)
    if config.training.epochs < begun:
        raise UserError(
            f"{run}: cannot be resumed: {'; '.join(changed)}, and {_epochs(begun, 'begun')}; give at least "
            f"{begun}, or leave training.epochs out"
        )
    if manifest.complete and config.training.epochs == state.epoch:
        return False
    if changed:
        _check_patience(run, state, config)
    if config.training.deterministic and manifest.versions != versions():
        raise UserError(f"{run}: cannot be resumed exactly: it was started with {manifest.versions}")
    return True


def _check_patience(run: Path, state: TrainingState, config: TaskConfig) -> None:
    training, stale = config.training, state.selection.stale_epochs
    if state.finished and state.selection.stops(training.early_stopping_patience):
        raise UserError(
            f"{run}: cannot be continued: early stopping ended it after epoch {state.epoch}: "
            f"{training.early_stopping_metric} did not improve for {_epochs(stale)}, and "
            f"training.early_stopping_patience is {training.early_stopping_patience}; give one of more than "
            f"{stale}, or 0 for no early stopping"
        )


def described_changes(
    before: TaskConfig, config: TaskConfig, others: Sequence[str], state: TrainingState, rate: float
) -> list[str]:
    """Return sentences about what differs from now on.

    Args:
        before: configuration so far.
        config: from now on.
        others: what `other_kernels` and `other_replicas` say.
        state: progress.
        rate: learning rate of the next step.
    """
    where = f"from epoch {state.epoch + 1}, step {state.step + 1}"
    return [f"{where}: {change}" for change in (_course(before, config, state, rate), *others) if change]


def _course(before: TaskConfig, config: TaskConfig, state: TrainingState, rate: float) -> str:
    changed = changes_of_course(before, config)
    if not changed:
        return ""
    training, old = config.training, before.training.epochs
    schedule = f"the {training.schedule} schedule"
    if training.epochs == old:
        how = ""
    elif training.schedule == "cosine":
        last = state.history[-1]["learning_rate"] if state.history else 0.0
        how = (
            f"; {schedule} is spread over {training.epochs} epochs, not {old}: the learning rate was "
            f"{last:.3g}, is {rate:.3g}, and ends at {training.learning_rate * FINAL_RATE:.3g}"
        )
    else:
        how = f"; {schedule} goes on with a learning rate of {rate:.3g}"
    return f"{'; '.join(changed)}{how}"


def _epochs(number: int, participle: str = "") -> str:
    verb = f" {'is' if number == 1 else 'are'} {participle}" if participle else ""
    return f"{number} epoch{'s' * (number != 1)}{verb}"
