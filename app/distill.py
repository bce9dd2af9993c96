"""`textrnn distill`: one network learns from the mean of several runs (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.artifacts.run import CONFIG, Run
from app.config import TaskConfig, load_config
from app.tasks import TASKS, get_task
from app.train import train
from app.training.events import TrainedRun, Watcher
from data.errors import UserError


def distill(
    teachers: Sequence[Path],
    run: Path,
    *,
    config_file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    manual_directory: Path | None = None,
    watcher: Watcher = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedRun:
    """Train a student on the data of its teachers, with their mean probabilities beside the true labels.

    Args:
        teachers: finished runs of one task on the same examples; at least one.
        run: the run directory of the student.
        config_file: TOML file with the configuration of the student.
        preset: named configuration of the student. Without a file and a preset the student has the
            configuration of the first teacher.
        overrides: `KEY=VALUE` of the student. Keys of `data` are those of the first teacher otherwise.
        resume: continue an earlier distillation in `run` from its last state.
        manual_directory: raw files of a catalogue dataset.
        watcher: called with each event.
        should_stop: called after each event; True saves the state and stops.

    Raises:
        UserError: the runs cannot teach together, their task cannot be distilled, or as of `app.train.train`.
    """
    from app.training.teacher import open_teachers

    opened = open_teachers(teachers)
    first = opened[0]
    if not get_task(first.task).training.distills:
        able = " and ".join(name for name in TASKS if get_task(name).training.distills)
        raise UserError(f"{first.path}: a {first.task} model cannot be distilled; {able} models can be")
    return train(
        first.task,
        first.manifest.data or "",
        student_config(first, config_file, preset, overrides),
        run=run,
        resume=resume,
        manual_directory=manual_directory,
        teachers=opened,
        watcher=watcher,
        should_stop=should_stop,
    )


def student_config(
    first: Run, config_file: Path | None, preset: str | None, overrides: Sequence[str]
) -> TaskConfig:
    """Return the configuration of a student, which reads the data as its first teacher did."""
    own = first.path / CONFIG
    if config_file is None and preset is None:
        return load_config(first.task, file=own, overrides=overrides)
    config = load_config(first.task, file=config_file, preset=preset, overrides=overrides)
    of_data = [override for override in overrides if override.startswith("data.")]
    return config.model_copy(update={"data": load_config(first.task, file=own, overrides=of_data).data})
