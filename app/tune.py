"""`textrnn tune`: search the hyper-parameters of a task on some data within a time budget."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.artifacts.files import new_directory, write_text
from app.artifacts.lock import locked
from app.artifacts.run import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    TENSORBOARD,
    change_run,
    complete_run,
    read_run_manifest,
)
from app.config import FREE_ON_RESUME, TaskConfig, changed_keys, dump_config, load_config
from app.config.differences import EPOCHS, PATIENCE
from app.extras import extra
from app.json_text import dumps
from app.tasks.search import Space
from app.terminal.printable import short
from app.train import train, with_card
from app.training.events import DivergedError, Epoch, Event, Watcher
from app.training.hparams import write_hparams
from app.training.resuming import config_of_run
from app.training.selection import configured_metric
from app.training.strategy import check_one_process
from app.tuning.draw import BEST, FAILED, FINISHED, PRUNED, UNFINISHED
from app.tuning.space import assignments, described, search_space, start_of
from app.tuning.trials import SECONDS, WHY, Trials
from data.errors import UserError

if TYPE_CHECKING:
    import optuna

RESULTS = "tune.json"
PICTURE = "tune.svg"
TRIALS = "trials"
LOCK = "lock"
SPACE = "space.json"
SAVED_EVERY = 5.0
"""Seconds between two times at which the time that was spent is stored."""
MOST_FAILURES = 5
"""Trainings in a row that may fail."""


def default_folder(task: str, now: datetime) -> Path:
    """Return `runs/tune-<task>-<date>-<time>`."""
    return Path("runs", f"tune-{task}-{now:%Y%m%d}-{now:%H%M%S}")


def tune(
    task: str,
    data: str,
    *,
    budget: float,
    run: Path | None = None,
    search: Sequence[str] = (),
    config_file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    manual_directory: Path | None = None,
    watcher: Watcher = lambda event: None,
    note: Callable[[str], object] = lambda sentence: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train with other and other hyper-parameters until the budget is spent, and keep the best run.

    The first trial has the configuration as it is. What a former call in the same folder has done counts: its
    trials, the time that they took, and the training that was interrupted, which is resumed. No trial begins
    that takes longer than is left, if it takes as long as the median of those that were finished. The one
    that runs at the end of the budget is stopped, and its best epoch counts.

    Args:
        task: name of the task.
        data: DATA, as of `app.train.train`.
        budget: seconds, those of former calls in the folder included.
        run: folder of the search; None: `default_folder`.
        search: changes of the search space, see `app.tuning.space.search_space`.
        config_file: configuration of all trials, as the next two.
        preset: named configuration.
        overrides: `KEY=VALUE`; these keys are not searched.
        manual_directory: raw files of a catalogue dataset.
        watcher: called with each event of the trainings.
        note: called with a sentence before each training.
        should_stop: called after each event; True saves the state of the training and stops.

    Returns:
        the content of `tune.json`: `task`, `data`, `metric`, whether `higher_is_better`, `budget`, `seconds`,
        `keys`, `space`, the number of the `best` trial, and `rows`, the trials; None if it was stopped.

    Raises:
        UserError: as of `search_space` and `app.train.train`; the folder is not one of this search; or the
            budget has ended before the first epoch.
    """

    def load(more: Sequence[str]) -> TaskConfig:
        return load_config(task, file=config_file, preset=preset, overrides=[*overrides, *more])

    with extra("tune", "tune"):
        import optuna  # noqa: F401
    import app.training.fit  # noqa: F401 (TensorFlow is no part of the time that a trial takes)

    config = load(())
    check_one_process(config, "textrnn tune")
    space = search_space(task, search, overrides, load)
    folder = run or default_folder(task, datetime.now())
    with _opened(folder, config, space), locked(folder, LOCK, "the command again"):
        trials = Trials(
            folder,
            space,
            start_of(space, config),
            higher_is_better=configured_metric(config).higher_is_better,
            seed=config.seed,
        )
        own = _Search(task, data, folder, space, budget, trials, load, manual_directory, watcher, should_stop)
        while (trial := own.next()) is not None:
            note(own.announced(trial))
            ended = own.train(trial, note)
            write_text(folder / RESULTS, dumps(own.table(), indent=1))
            if should_stop():
                return None
            if not ended:
                break
        table = own.table()
        own.keep_best(table["best"])
        write_text(folder / RESULTS, dumps(table, indent=1))
        return table


@contextmanager
def _opened(folder: Path, config: TaskConfig, space: Space) -> Iterator[None]:
    """Create the folder of a search, or require that it is one with the same configuration and space."""
    about = dumps(described(space), indent=1)
    if not folder.exists():
        with suppress(FileExistsError), new_directory(folder) as directory:
            (directory / TRIALS).mkdir()
            (directory / CONFIG).write_text(dump_config(config), encoding="utf-8")
            (directory / SPACE).write_text(about, encoding="utf-8")
    if not (folder / SPACE).is_file() or not (folder / CONFIG).is_file():
        raise UserError(f"{folder} exists and is not a folder of 'textrnn tune'; give another --run")
    before = config_of_run(folder)
    if before.task != config.task:
        raise UserError(f"{folder} is a search for {before.task}, not for {config.task}; give another --run")
    free = FREE_ON_RESUME.keys() - {EPOCHS, PATIENCE}
    if changed := changed_keys(before, config, without=free):
        raise UserError(
            f"{folder}: cannot be continued with another configuration: {'; '.join(changed)}; give another "
            "--run"
        )
    if (folder / SPACE).read_text(encoding="utf-8") != about:
        raise UserError(
            f"{folder}: cannot be continued with another search space than that in {SPACE}; give the same "
            "--search, or another --run"
        )
    yield


@dataclass
class _Search:
    """A search in its folder, which is locked."""

    task: str
    data: str
    folder: Path
    space: Space
    budget: float
    trials: Trials
    load: Callable[[Sequence[str]], TaskConfig]
    manual_directory: Path | None
    watcher: Watcher
    should_stop: Callable[[], bool]
    began: float = 0.0
    before: float = 0.0
    """Seconds of former calls."""
    failures: int = 0

    def __post_init__(self) -> None:
        self.began, self.before = time.monotonic(), self.trials.seconds

    @property
    def left(self) -> float:
        """Seconds that are left of the budget."""
        return self.budget - self.before - (time.monotonic() - self.began)

    def next(self) -> optuna.Trial | None:
        """Return the trial that was interrupted, or a new one; None: the search is over."""
        if self.left <= 0:
            return None
        if (trial := self.trials.interrupted()) is not None:
            return trial
        return None if self.trials.usual_seconds > self.left else self.trials.begin()

    def path(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.folder / TRIALS / f"{number:04}"

    def announced(self, trial: optuna.Trial) -> str:
        """Return a sentence about a trial that begins."""
        what = "resumed" if self.path(trial.number).exists() else "begins"
        values = ", ".join(f"{key} = {short(value)}" for key, value in trial.params.items())
        return f"trial {trial.number} {what}, {max(self.left, 0):,.0f} s left: {values}"

    def train(self, trial: optuna.Trial, note: Callable[[str], object]) -> bool:
        """Train the run of a trial; return whether the trial has ended, and not the search."""
        run, began = self.path(trial.number), time.monotonic()
        spent = trial.user_attrs.get(SECONDS, 0.0)
        stored, pruned = began, False

        def watch(event: Event) -> None:
            nonlocal stored, pruned
            self.watcher(event)
            now = time.monotonic()
            # Epochs of a language model that the network starts from come before it has metrics.
            if isinstance(event, Epoch) and (run / METRICS).exists():
                self._check_data(run)
                pruned = self._report(trial, event.epochs)
            elif now - stored < SAVED_EVERY:
                return
            stored = now
            self.trials.spend(trial, spent + now - began)

        try:
            trained = train(
                self.task,
                self.data,
                self.load(assignments(trial.params)),
                run=run,
                resume=run.exists(),
                manual_directory=self.manual_directory,
                watcher=watch,
                should_stop=lambda: pruned or self.left <= 0 or self.should_stop(),
            )
        except UserError as error:
            self.failures += 1
            of_values = isinstance(error, DivergedError) or not run.exists()
            if not trial.number or not of_values or self.failures == MOST_FAILURES:
                raise
            self.trials.spend(trial, spent + time.monotonic() - began)
            self.trials.stop(trial, str(error))
            note(f"trial {trial.number} failed: {error}")
            return True
        self.trials.spend(trial, spent + time.monotonic() - began)
        if not (trained.finished or pruned):
            return False
        self.failures = 0
        write_hparams(run, trial.params, metric=metric_of(run))
        if trained.finished:
            self._report(trial, len(self._epochs(run)))
            self.trials.finish(trial, trained.best[f"validation_{metric_of(run)}"])
        else:
            self.trials.stop(trial)
            shutil.rmtree(run / CHECKPOINTS)
        return True

    def _report(self, trial: optuna.Trial, epochs: int) -> bool:
        """Report the epochs of a trial, also those before an interruption; return whether to stop it."""
        run, stop = self.path(trial.number), False
        for line in self._epochs(run):
            stop = self.trials.report(trial, line["epoch"], epochs, line[f"validation_{metric_of(run)}"])
        return stop

    @staticmethod
    def _epochs(run: Path) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl that end an epoch."""
        lines = map(json.loads, (run / METRICS).read_text(encoding="utf-8").splitlines())
        return [line for line in lines if "best" in line]

    def table(self) -> dict[str, Any]:
        """Return the content of `tune.json`; `best` is None before the first epoch."""
        rows = [self._row(trial) for trial in self.trials.all]
        valid = [row for row in rows if row["value"] is not None and row["state"] != PRUNED]
        metric = configured_metric(self.load(()))
        best = max(valid, key=lambda row: metric.score(row["value"]), default=None)
        return {
            "task": self.task,
            "data": self.data,
            "metric": metric_of(self.path(best["trial"])) if best else metric.name,
            "higher_is_better": metric.higher_is_better,
            "budget": self.budget,
            "seconds": self.trials.seconds,
            "keys": list(self.space),
            "space": described(self.space),
            "best": best["trial"] if best else None,
            "rows": rows,
        }

    def _row(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        values, why = list(trial.intermediate_values.values()), trial.user_attrs.get(WHY, "")
        state = {"COMPLETE": FINISHED, "PRUNED": FAILED if why else PRUNED}.get(trial.state.name, UNFINISHED)
        best = max if self.trials.higher_is_better else min
        return {
            "trial": trial.number,
            "run": self.path(trial.number).relative_to(self.folder).as_posix(),
            "state": state,
            "values": dict(trial.params),
            "value": best(values) if values and not why else None,
            "epochs": len(values),
            "seconds": trial.user_attrs.get(SECONDS, 0.0),
            "error": why,
        }

    def keep_best(self, number: int | None) -> None:
        """Copy the run of the best trial to `best`, complete, also if the budget has ended its training.

        Raises:
            UserError: there is none.
        """
        if number is None:
            raise UserError(
                f"{self.folder}: the budget of {self.budget:g} s ended before the first epoch; the same "
                "command with a longer --budget continues"
            )
        best, run = self.folder / BEST, self.path(number)
        if best.exists():
            shutil.rmtree(best)
        with new_directory(best) as directory:
            shutil.copytree(
                run, directory, ignore=shutil.ignore_patterns(CHECKPOINTS, TENSORBOARD), dirs_exist_ok=True
            )
            manifest = read_run_manifest(directory)
            if not manifest.complete:
                ended = (
                    "the budget of textrnn tune ended the training, of which the best epoch so far is kept"
                )
                config = config_of_run(directory)
                change_run(directory, config, manifest.kernels, manifest.replicas, ended)
                complete_run(directory)
        for message in with_card(best):
            self.watcher(message)

    def _check_data(self, run: Path) -> None:
        """Require that a trial reads the same data as the first one."""
        hashes = [read_run_manifest(own).dataset_hash for own in (self.path(0), run)]
        if hashes[0] != hashes[1]:
            raise UserError(
                f"{self.folder}: {self.data} is not the data of the first trial: dataset_hash was "
                f"{hashes[0]!r}, is {hashes[1]!r}; restore it, or give another --run"
            )


def metric_of(run: Path) -> str:
    """Return the name of the validation metric that selects the best epoch of a run."""
    return config_of_run(run).training.early_stopping_metric
