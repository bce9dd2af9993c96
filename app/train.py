"""`textrnn train`: from DATA to a finished run directory."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from app.artifacts.files import versions
from app.artifacts.run import CONFIG, METRICS, complete_run, create_run, read_manifest
from app.config import Config, differences, load_config
from app.tasks import get_task
from app.tasks.base import Vocabularies, checked_metric
from data.embeddings import read_vectors
from data.errors import UserError
from data.prepared import Dataset, prepare
from data.sources import open_source

if TYPE_CHECKING:
    import keras

    from app.tasks.base import Task
    from data.encoding import Encoded

FEWEST_EPOCHS, MOST_EPOCHS = 2, 30


@dataclass(frozen=True)
class Trained:
    """How a training ended."""

    run: Path
    finished: bool
    """False: it was interrupted, and can be resumed."""
    best: dict[str, Any]
    """The metrics of the epoch whose weights were kept."""


def default_run(task: str, dataset: str, now: datetime) -> Path:
    """`runs/<task>-<dataset>-<date>-<time>`."""
    return Path("runs", f"{task}-{dataset}-{now:%Y%m%d}-{now:%H%M%S}")


def resolve_epochs(config: Config, tokens: int, *, to_learn_from: int) -> Config:
    """Fills in `training.epochs` where it is 0: more passes over a short training text, fewer over a long.

    Args:
        config: with or without a number of epochs.
        tokens: of the training text.
        to_learn_from: tokens that all epochs together should have.
    """
    if config.training.epochs:
        return config
    epochs = min(max(round(to_learn_from / max(tokens, 1)), FEWEST_EPOCHS), MOST_EPOCHS)
    return config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs})})


def _typed(data: str) -> str:
    """DATA as it is found again from another working directory."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def _check_resume(run: Path, manifest: dict[str, Any], facts: dict[str, Any], config: Config) -> None:
    for key in ("task", "dataset_hash"):
        if manifest[key] != facts[key]:
            raise UserError(
                f"{run}: cannot be resumed: its {key} is {manifest[key]!r}, not {facts[key]!r}; "
                "the data or the task is another one"
            )
    if manifest["versions"] != facts["versions"] and config.training.deterministic:
        raise UserError(f"{run}: cannot be resumed exactly: it was begun with {manifest['versions']}")
    changed = differences(load_config(file=run / CONFIG), config)
    if changed:
        raise UserError(f"{run}: cannot be resumed with another configuration: {'; '.join(changed)}")


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that fills when the process is asked to stop; asked twice, it stops at once."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def new_model(task: Task, config: Config, encoded: Encoded, vocabularies: Vocabularies) -> keras.Model:
    """A model with its weights drawn from the seed, and word vectors where the configuration names some."""
    import keras
    import tensorflow as tf

    keras.utils.clear_session(free_memory=False)  # names of variables count from 1 again, as in a new process
    keras.utils.set_random_seed(config.seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if config.training.mixed_precision else "float32")
    try:
        model = task.build_model(config, encoded, vocabularies)
    finally:
        keras.config.set_dtype_policy(before)
    if config.model.embeddings:
        path = Path(config.model.embeddings).expanduser()
        vectors = read_vectors(path, list(vocabularies["vocabulary"]), size=config.model.embedding_size)
        if not vectors:
            raise UserError(f"{path}: none of its words is in the vocabulary of the training text")
        embedding = task.embedding(model)
        table = embedding.embeddings.numpy()
        for index, vector in vectors.items():
            table[index] = vector
        embedding.embeddings.assign(table)
    return model


def train(
    task_name: str,
    data: str,
    config: Config,
    *,
    run: Path | None = None,
    resume: bool = False,
    manual_directory: Path | None = None,
    now: datetime | None = None,
) -> Trained:
    """Trains a model.

    Args:
        task_name: one of `app.tasks.TASKS`.
        data: DATA as typed.
        config: `training.epochs` may be 0, for a number that fits the rows.
        run: the run directory; None names one after task, dataset and `now`.
        resume: go on where an earlier training in `run` stopped.
        manual_directory: raw files of a catalogue dataset.
        now: the time, for the run's name.

    Raises:
        UserError: data, configuration or run directory don't allow it; nothing was written to `run`.
    """
    task = get_task(task_name)
    if run is not None and run.exists() and not resume:
        raise UserError(f"{run} exists; continue it with --resume, or give another --run")
    if resume and run is None:
        raise UserError("--resume needs --run: which run is to go on?")
    if run is not None and resume and run.exists() and read_manifest(run)["complete"]:
        return _summary(run, finished=True)
    if config.model.embeddings and not Path(config.model.embeddings).expanduser().is_file():
        raise UserError(f"model.embeddings = {config.model.embeddings!r}: No such file or directory")
    checked_metric(task, config)
    task.check_config(config)
    source = open_source(data, task.fields(config), task.formats, task.parallel(config))
    dataset = prepare(
        source,
        task.fields(config),
        directory=config.data_directory(),
        manual_directory=manual_directory,
        check=task.check,
        watch=task.watch(config),
    )
    run = run or default_run(task_name, dataset.name, now or datetime.now())
    if run.exists() and not resume:
        raise UserError(f"{run} exists; give another --run")
    return _train(task, dataset, data, config, run)


def _summary(run: Path, *, finished: bool) -> Trained:
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    best = [line for line in lines if line.get("best")]
    return Trained(run, finished, best[-1] if best else {})


def _train(task: Task, dataset: Dataset, data: str, config: Config, run: Path) -> Trained:
    from app.terminal.progress import TrainingDisplay
    from app.training.encode import encode_dataset
    from app.training.fit import Fit, Interrupted
    from models.text.tokens import UNKNOWN_ID

    encoded, longest = encode_dataset(dataset, task, config, config.data_directory())
    vocabularies = task.vocabularies(encoded, dataset, config)
    tokens, counts = vocabularies["vocabulary"], task.token_counts(encoded, vocabularies, config)
    config = resolve_epochs(config, task.epoch_tokens(encoded), to_learn_from=task.tokens_to_learn_from)
    model = new_model(task, config, encoded, vocabularies)
    feeds = {split: task.feed(encoded, split, vocabularies, config) for split in encoded.splits}
    facts = {
        "task": task.name,
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "data": _typed(data),
        "versions": versions(),
        "seed": config.seed,
        "parameters": model.count_params(),
        "rows": {name: len(rows) for name, rows in encoded.splits.items()},
    }
    display = TrainingDisplay(config.training.epochs)
    if run.exists():
        _check_resume(run, read_manifest(run), facts, config)
        display.say(f"{run}: going on")
    else:
        create_run(run, config, facts, vocabularies=vocabularies, longest=longest)
        display.say(
            f"{run}: {len(encoded.splits['train']):,} rows, {len(tokens):,} tokens in the vocabulary "
            f"({counts[UNKNOWN_ID] / max(counts.sum(), 1):.1%} of the text unknown), "
            f"{facts['parameters']:,} parameters"
        )
    with _stop_signals() as asked:
        fit = Fit(
            task,
            model,
            config,
            train=feeds["train"],
            validation=feeds["validation"],
            vocabularies=vocabularies,
            run=run,
            watcher=display,
            after_epoch=task.after_epoch(model, vocabularies, config),
            should_stop=lambda: bool(asked),
        )
        try:
            fit()
        except Interrupted:
            return _summary(run, finished=False)
        finally:
            display.close()
    complete_run(run)
    return _summary(run, finished=True)
