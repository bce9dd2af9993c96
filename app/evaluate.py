"""`textrnn evaluate`: figures of a finished run on a split, beside an honest baseline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.artifacts.files import versions, write_text
from app.artifacts.run import Run, open_run
from app.prediction.loading import load_predictor
from app.prediction.predictor import with_beam
from app.tasks import get_task
from app.tasks.base import RowBatch, Task
from app.terminal.progress import bar
from data.errors import UserError
from data.prepared import Dataset, prepare
from data.sources import open_source
from data.splits import training_rows

ROWS_AT_ONCE = 4096


def open_dataset(run: Run, data: str | None, split: str, manual_directory: Path | None) -> Dataset:
    """The dataset of a run, or another one with the same columns, whose `split` the run can answer.

    Raises:
        UserError: it is not there, or the run's own data has changed since.
    """
    task = get_task(run.task)
    fields = task.fields(run.config)
    source = open_source(data or run.manifest["data"], fields, task.shapes, task.parallel(run.config))
    vocabularies = run.vocabularies()
    dataset = prepare(
        source,
        fields,
        directory=run.config.data_directory(),
        manual_directory=manual_directory,
        check=lambda found: task.check_known(found, split, vocabularies),
        watch=task.watch(run.config),
    )
    if data is None and dataset.hash != run.manifest["dataset_hash"]:
        raise UserError(
            f"{run.manifest['data']} has changed since {run.path} was trained on it; "
            "name what to evaluate on with --data"
        )
    return dataset


def _rows(dataset: Dataset, split: str) -> Iterator[RowBatch]:
    """The rows of a split, with a bar."""
    with bar("evaluating", dataset.size(split)) as advance:
        for batch in dataset.batches(split, size=ROWS_AT_ONCE):
            yield batch
            advance(len(next(iter(batch.values()))))


def baseline(run: Run, task: Task, own: Dataset, dataset: Dataset, split: str) -> dict[str, Any] | None:
    """The baseline's figures on a split of `dataset`, learned from the training rows of `own`.

    Computed once for the data and the split, then read from the data directory.
    """
    config = run.config
    identity = json.dumps(
        [versions(), task.name, own.hash, dataset.hash, split, config.data.validation_fraction, config.seed]
    )
    cached = config.data_directory() / "baselines" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
    if cached.exists():
        found: dict[str, Any] = json.loads(cached.read_text())
        return found
    train = (
        rows
        for name, rows in training_rows(own, task.fields(config)[0].name, config.data.validation_fraction)
        if name == "train"
    )
    figures = task.baseline((own, train), (dataset, dataset.batches(split)), run)
    if figures is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_text(cached, json.dumps(figures))
    return figures


def evaluate(
    path: Path,
    *,
    data: str | None = None,
    split: str = "test",
    with_baseline: bool = True,
    beam: int | None = None,
    manual_directory: Path | None = None,
) -> dict[str, Any]:
    """Evaluates a run.

    Args:
        path: a run directory.
        data: other DATA than the run was trained on; it needs the same columns.
        split: `train`, `validation`, `test` or `all`.
        with_baseline: also learn and evaluate the baseline.
        beam: width of a search, if not the run's own.
        manual_directory: raw files of a catalogue dataset.

    Returns:
        the JSON object of `evaluate --json`.
    """
    run = open_run(path)
    task = get_task(run.task)
    dataset = open_dataset(run, data, split, manual_directory)
    if not dataset.size(split):
        raise UserError(f"{dataset.name}: the {split} split has no rows")
    result = {
        "task": task.name,
        "dataset": dataset.name,
        "split": split,
        **task.evaluate(with_beam(load_predictor(path), beam), run, dataset, _rows(dataset, split)),
    }
    if with_baseline:
        try:
            own = open_dataset(run, None, split, manual_directory) if data else dataset
            figures = baseline(run, task, own, dataset, split)
        except UserError as error:  # the run's own data is gone: its figures stand all the same
            figures = {"error": str(error)}
        if figures is not None:
            result["baseline"] = {"name": task.baseline_name, **figures}
    return result
