"""The trials of a search: what Optuna keeps in a file, and what it tries next."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.tasks.search import Choices, Dimension, Range, Space
from app.tuning.space import size

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.log"
STUDY = "textrnn"
SECONDS, WHY = "seconds", "error"
"""Attributes of a trial: the time of its training, and why it has failed."""
STARTUP = 8
"""Trials at random points, before the sampler learns from them."""
ATTEMPTS = 20
"""Draws of a point that was not tried, before the first such point is taken."""
COMPARED = 4
"""Finished trials that are needed to stop others early."""
WARMUP = 1 / 3
"""Share of the epochs in which no trial is stopped."""


class Trials:
    """The trials of a search in a folder.

    Points are drawn by a tree-structured Parzen estimator (Bergstra et al. 2011), and a trial is stopped
    early if its best epoch is worse than the median of the finished trials at the same epoch (Golovin et al.
    2017); both are Optuna's (Akiba et al. 2019). Its file is appended to and synced, so that it survives the
    end of the process at any time.
    """

    def __init__(
        self, folder: Path, space: Space, start: Mapping[str, Any], *, higher_is_better: bool, seed: int
    ) -> None:
        """Open the file of a folder, or begin it.

        Args:
            folder: exists; no other process uses it.
            space: of the search; always the same in a folder.
            start: the first point.
            higher_is_better: whether larger values are better.
            seed: of the sampler.
        """
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.higher_is_better = higher_is_better
        self._space, self._start, self._seed = space, dict(start), seed
        path = folder / JOURNAL
        _repair(path)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=STUDY,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
        )
        self._distributions = {key: _distribution(dimension) for key, dimension in space.items()}

    @property
    def all(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, in their order; those that were withdrawn are left out."""
        from optuna.trial import TrialState

        found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if trial.state not in (TrialState.FAIL, TrialState.WAITING)]

    @property
    def seconds(self) -> float:
        """The time of all trainings."""
        return math.fsum(trial.user_attrs.get(SECONDS, 0.0) for trial in self.all)

    @property
    def usual_seconds(self) -> float:
        """The median time of a training that was finished; 0: there is none."""
        finished = [trial.user_attrs[SECONDS] for trial in self.all if trial.state.name == "COMPLETE"]
        return statistics.median(finished) if finished else 0.0

    def interrupted(self) -> optuna.Trial | None:
        """Return the trial that was running when the process ended, if there is one."""
        import optuna

        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state == optuna.trial.TrialState.RUNNING:
                trial = optuna.Trial(self.study, frozen._trial_id)
                if frozen.params.keys() == self._space.keys():
                    return trial
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)  # killed while it was begun
        return None

    def begin(self) -> optuna.Trial | None:
        """Begin a new trial, at a point that was not tried before; None: all were."""
        import optuna

        tried = [trial.params for trial in self.all]
        if len(tried) >= size(self._space):
            return None
        # One that waits was left by a process that was killed.
        if not self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
            self.study.enqueue_trial(self._proposed(tried) if tried else self._start)
        return self.study.ask(self._distributions)

    def _proposed(self, tried: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the next point; it is drawn in memory, so that points that were tried leave no trace."""
        import optuna

        draft = optuna.create_study(direction="maximize" if self.higher_is_better else "minimize")
        draft.add_trials(self.all)
        for attempt in range(ATTEMPTS):
            # Another seed for each trial: the draws of a resumed search must not be those of its beginning.
            seed = self._seed + ATTEMPTS * len(tried) + attempt
            draft.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
            trial = draft.ask(self._distributions)
            if trial.params not in tried:
                params: dict[str, Any] = trial.params
                return params
            draft.tell(trial, state=optuna.trial.TrialState.FAIL)
        return next(self._points(tried))

    def report(self, trial: optuna.Trial, epoch: int, epochs: int, value: float) -> bool:
        """Take the validation metric of an epoch, and return whether the trial should be stopped.

        Args:
            trial: running.
            epoch: its number, from 1.
            epochs: maximum number of epochs.
            value: of the metric.
        """
        import optuna

        if epoch not in self._values(trial):  # else reported before an interruption
            trial.report(value, epoch)
        self.study.pruner = optuna.pruners.MedianPruner(COMPARED, math.ceil(epochs * WARMUP))
        return epoch < epochs and trial.should_prune()

    def spend(self, trial: optuna.Trial, seconds: float) -> None:
        """Store the time of a training up to now."""
        trial.set_user_attr(SECONDS, seconds)

    def finish(self, trial: optuna.Trial, value: float) -> None:
        """End a trial whose training is finished."""
        self.study.tell(trial, value)

    def stop(self, trial: optuna.Trial, why: str = "") -> None:
        """End a trial whose training was stopped early, or has failed because of its values."""
        import optuna

        if why:
            trial.set_user_attr(WHY, why)
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def _values(self, trial: optuna.Trial) -> Mapping[int, float]:
        found = next(own for own in self.all if own.number == trial.number)
        values: Mapping[int, float] = found.intermediate_values
        return values

    def _points(self, tried: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the points of a finite space that were not tried."""
        values = [_values(dimension) for dimension in self._space.values()]
        for point in itertools.product(*values):
            found = dict(zip(self._space, point, strict=True))
            if found not in tried:
                yield found


def _values(dimension: Dimension) -> tuple[Any, ...]:
    match dimension:
        case Choices(values):
            return values
        case Range(low, high):
            return tuple(range(int(low), int(high) + 1))


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match dimension:
        case Choices(values):
            return CategoricalDistribution(values)
        case Range(int(low), int(high), log):
            return IntDistribution(low, high, log=log)
        case Range(low, high, log):
            return FloatDistribution(low, high, log=log)


def _repair(path: Path) -> None:
    """Remove what an interrupted process has left: half a line at the end of the file, and its lock."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
