"""`textrnn train`: from DATA to a finished run directory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.artifacts.files import MANIFEST
from app.artifacts.run import Run, read_run_manifest
from app.config import TaskConfig
from app.config.sections import LEARN
from app.tasks import get_task
from app.tasks.opening import open_unlabelled, prepare_data
from app.training.events import Event, Message, TrainedRun, Watcher, watched
from app.training.pretrained import open_language_model
from app.training.strategy import check_equal, check_strategy, connected
from app.training.tracker import TRACKERS
from app.training.warm_start import open_warm_start
from app.training.workers import MULTI_WORKER
from data.errors import UserError
from data.prepared import prepare

if TYPE_CHECKING:
    from app.tasks.base import Task
    from app.training.session import Opened
    from app.training.workers import Alone

MOST_SEEDS = 2**31
NOWHERE = Path("/dev/null/run")
"""In place of the run directory of a worker that has none: it can't exist."""


@dataclass(frozen=True)
class _Asked:
    """What `train` is asked for."""

    task: Task[Any, Any]
    data: str
    config: TaskConfig
    run: Path | None
    resume: bool
    manual_directory: Path | None
    now: datetime | None
    teachers: Sequence[Run]
    from_run: Path | None
    should_stop: Callable[[], bool]


def default_run(task: str, dataset: str, now: datetime) -> Path:
    """Return `runs/<task>-<dataset>-<date>-<time>`."""
    return Path("runs", f"{task}-{dataset}-{now:%Y%m%d}-{now:%H%M%S}")


def with_seeds(config: TaskConfig, run: Path | None, number: int) -> list[tuple[TaskConfig, Path]]:
    """Return configurations that differ in their seeds, each with its run directory, `RUN-0`, `RUN-1`, ….

    Raises:
        UserError: there is no name for the runs, or a seed is too large.
    """
    if run is None:
        raise UserError("--seeds needs --run, the beginning of the names of the run directories")
    if config.training.strategy == MULTI_WORKER:
        raise UserError(
            f"--seeds: a process trains once with training.strategy = {MULTI_WORKER!r}; give each seed a "
            "command of its own, with --set seed=N"
        )
    if config.seed + number > MOST_SEEDS:
        raise UserError(
            f"--seeds {number}: the last seed would be {config.seed + number - 1}; the largest is "
            f"{MOST_SEEDS - 1}; give a smaller --set seed=N"
        )
    return [
        (config.model_copy(update={"seed": config.seed + i}), run.with_name(f"{run.name}-{i}"))
        for i in range(number)
    ]


def train(
    task_name: str,
    data: str,
    config: TaskConfig,
    *,
    run: Path | None = None,
    resume: bool = False,
    manual_directory: Path | None = None,
    now: datetime | None = None,
    teachers: Sequence[Run] = (),
    from_run: Path | None = None,
    watcher: Watcher = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedRun:
    """Train a model to the end, or until it is asked to stop.

    It prints nothing, handles no signals, and works in any thread.

    Args:
        task_name: one of `app.tasks.TASKS`.
        data: DATA as given by the user.
        config: `training.epochs` may be 0, for a number that fits the data.
        run: the run directory; None: `default_run`.
        resume: continue an earlier training in `run` from its last state.
        manual_directory: raw files of a catalogue dataset.
        now: the time, for the name of the run.
        teachers: finished runs of the task on the same data, whose probabilities are learned too.
        from_run: a finished run whose weights training starts from, of any task.
        watcher: called with each event.
        should_stop: called after each event; True saves the state and stops.

    Raises:
        UserError: data, configuration or run directory are not valid; nothing was written to `run`.
    """
    steps = training_steps(
        task_name, data, config, run=run, resume=resume, manual_directory=manual_directory, now=now,
        teachers=teachers, from_run=from_run, should_stop=should_stop,
    )  # fmt: skip
    with closing(steps):
        return watched(steps, watcher)


def training_steps(
    task_name: str,
    data: str,
    config: TaskConfig,
    *,
    run: Path | None = None,
    resume: bool = False,
    manual_directory: Path | None = None,
    now: datetime | None = None,
    teachers: Sequence[Run] = (),
    from_run: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, TrainedRun]:
    """Train as `train` does, and yield each event.

    Closing the generator saves the state, so that training can be resumed. From the first step on the process
    keeps freed memory, see `app.allocator.keep_freed_memory`.

    Of several workers, see `app.training.workers`, all but the chief yield messages only, and leave the run
    directory to it.
    """
    from app.training.session import Session

    asked = _Asked(
        get_task(task_name), data, config, run, resume, manual_directory, now, teachers, from_run, should_stop
    )
    check_strategy(asked.task, config, teachers)
    workers = yield from connected(config.training.strategy, should_stop)
    if not workers.is_chief:
        asked = replace(asked, run=None, resume=False)
    try:
        opened = _open(asked, workers)
        with _op_determinism(config.training.deterministic):
            trained = yield from Session(opened).events(with_card)
    except UserError as error:
        workers.report(error)
        raise
    return trained


def _open(asked: _Asked, workers: Alone) -> Opened:
    """Check the run directory and the other runs, and prepare the data."""
    from app.training.session import Opened

    task, config, run = asked.task, asked.config, asked.run
    _check_run(task, run, resume=asked.resume)
    vectors = config.model.embeddings
    if vectors not in ("", LEARN) and not Path(vectors).expanduser().is_file():
        raise UserError(f"model.embeddings = {vectors!r}: No such file or directory")
    TRACKERS[config.training.tracker].check()
    language_model = open_language_model(config, run)
    start = open_warm_start(task.name, config, asked.from_run, run)
    dataset, config = prepare_data(asked.data, task, config, asked.manual_directory)
    unlabelled = None
    if opened := open_unlabelled(task, config):
        unlabelled = prepare(opened.source, opened.fields, directory=config.data_directory())
    check_equal(workers, config, dataset.hash, unlabelled.hash if unlabelled else "")
    if run is None:
        now = asked.now or datetime.now()
        run = default_run(task.name, dataset.name, now) if workers.is_chief else NOWHERE
    if run.exists() and not asked.resume:
        raise UserError(f"{run} exists; give another --run")
    return Opened(
        task=task,
        data=asked.data,
        config=config,
        run=run,
        dataset=dataset,
        unlabelled=unlabelled,
        teachers=asked.teachers,
        language_model=language_model,
        start=start,
        workers=workers,
        should_stop=asked.should_stop,
    )


def _check_run(task: Task[Any, Any], run: Path | None, *, resume: bool) -> None:
    """Require a run directory that is new, or whose training can be resumed."""
    if run is None:
        if resume:
            raise UserError("--resume needs --run, the run directory to continue")
        return
    if not run.exists():
        return
    if not resume:
        if not (run / MANIFEST).is_file():
            raise UserError(f"{run} exists and is not a run directory; give another --run")
        raise UserError(f"{run} exists; continue it with --resume, or give another --run")
    if (found := read_run_manifest(run).task) != task.name:
        raise UserError(f"{run}: cannot be resumed: its task is {found}, not {task.name}")


def with_card(run: Path) -> Iterator[Message]:
    """Write the model card of a finished run; a failure is a message: the run is complete without it."""
    from app.model_card.render import write_card

    try:
        write_card(run)
    except Exception as error:
        reason = " ".join(f"{error or type(error).__name__}".split())
        yield Message(f"{run}: the model card was not written: {reason}; 'textrnn card {run}' writes it")


@contextmanager
def _op_determinism(deterministic: bool) -> Iterator[None]:
    """Switch deterministic operations of TensorFlow on, and off again if they were off before."""
    if not deterministic:
        yield
        return
    import tensorflow as tf

    # TensorFlow's public API can only switch them on.
    from tensorflow.python.framework import config as framework

    before = framework.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            framework.disable_op_determinism()
