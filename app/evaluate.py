"""`textrnn evaluate`: figures of a finished run on a split, beside an honest baseline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from app.encode import training_rows
from app.predictor import Predictor, load_predictor
from app.progress import bar
from app.run import Run, open_run, versions, write_text
from app.tasks import get_task
from app.tasks.base import Answers, Task
from data.errors import UserError
from data.prepared import Dataset, prepare
from data.sources import open_source

MOST_BASELINE_ROWS = 100_000
"""The baseline holds its rows in memory: of more than so many it learns from the first ones."""


def open_dataset(run: Run, data: str | None, split: str, manual_directory: Path | None) -> Dataset:
    """The dataset of a run, or another one with the same columns, whose `split` the run can answer.

    Raises:
        UserError: it is not there, or the run's own data has changed since.
    """
    task = get_task(run.task)
    fields = task.fields(run.config)
    source = open_source(data or run.manifest["data"], fields, task.formats)
    dataset = prepare(
        source,
        fields,
        directory=run.config.data_directory(),
        manual_directory=manual_directory,
        check=lambda found: task.check_known(found, split, run.labels()),
    )
    if data is None and dataset.hash != run.manifest["dataset_hash"]:
        raise UserError(
            f"{run.manifest['data']} has changed since {run.path} was trained on it; "
            "name what to evaluate on with --data"
        )
    return dataset


def answer_split(
    predictor: Predictor, task: Task, run: Run, dataset: Dataset, split: str
) -> tuple[Answers, np.ndarray]:
    """Answers to the texts of a split and their targets, in the split's order."""
    labels = run.labels()
    text = task.fields(run.config)[0].name
    parts: list[tuple[Answers, np.ndarray]] = []
    total = dataset.size(split)
    if not total:
        raise UserError(f"{dataset.name}: the {split} split has no rows")
    with bar("evaluating", total) as advance:
        for batch in dataset.batches(split, size=4096):
            targets = task.targets(batch, dataset, labels)
            parts.append((predictor(batch[text]), targets))
            advance(len(targets))
    answers = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    return answers, np.concatenate([targets for _, targets in parts])


def _texts(rows: Any, wanted: str, most: int) -> tuple[list[bytes], np.ndarray]:
    texts: list[bytes] = []
    targets: list[np.ndarray] = []
    for split, batch, own in rows:
        if split == wanted and len(texts) < most:
            texts.extend(batch)
            targets.append(own)
    return texts[:most], np.concatenate(targets)[:most]


def baseline(run: Run, task: Task, own: Dataset, dataset: Dataset, split: str) -> dict[str, Any]:
    """The baseline's figures on a split of `dataset`, learned from the training rows of `own`.

    Computed once for the data and the split, then read from the data directory.
    """
    labels = run.labels()
    identity = json.dumps(
        [
            versions(),
            task.name,
            own.hash,
            dataset.hash,
            split,
            run.config.data.validation_fraction,
            run.config.seed,
        ]
    )
    cached = (
        run.config.data_directory() / "baselines" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
    )
    if cached.exists():
        found: dict[str, Any] = json.loads(cached.read_text())
        return found
    text = task.fields(run.config)[0].name
    train = _texts(training_rows(own, task, run.config, labels), "train", MOST_BASELINE_ROWS)
    test_rows = ((split, b[text], task.targets(b, dataset, labels)) for b in dataset.batches(split))
    test = _texts(test_rows, split, dataset.size(split))
    figures = task.baseline(train, test, labels, seed=run.config.seed) | {"rows": len(train[0])}
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_text(cached, json.dumps(figures))
    return figures


def evaluate(
    path: Path,
    *,
    data: str | None = None,
    split: str = "test",
    with_baseline: bool = True,
    manual_directory: Path | None = None,
) -> dict[str, Any]:
    """Evaluates a run.

    Args:
        path: a run directory.
        data: other DATA than the run was trained on; it needs the same columns.
        split: `train`, `validation`, `test` or `all`.
        with_baseline: also learn and evaluate the baseline.
        manual_directory: raw files of a catalogue dataset.

    Returns:
        the JSON object of `evaluate --json`.
    """
    run = open_run(path)
    task = get_task(run.task)
    dataset = open_dataset(run, data, split, manual_directory)
    dataset.size(split)
    labels = run.labels()
    answers, targets = answer_split(load_predictor(path), task, run, dataset, split)
    result = {
        "task": task.name,
        "dataset": dataset.name,
        "split": split,
        "examples": len(targets),
        **task.evaluate(answers, targets, labels),
    }
    if with_baseline:
        try:
            own = open_dataset(run, None, split, manual_directory) if data else dataset
            result["baseline"] = baseline(run, task, own, dataset, split)
        except UserError as error:  # the run's own data is gone: its figures stand all the same
            result["baseline"] = {"error": str(error)}
    return result
