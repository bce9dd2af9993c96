"""`textrnn evaluate`: metrics of a model on a split, next to those of a baseline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.artifacts.files import versions, write_text
from app.config import for_other_data
from app.json_text import dumps
from app.prediction.loading import load_predictor, with_beam
from app.prediction.predictor import LARGEST_CHUNK, ModelInfo, Predictor
from app.tasks import get_task
from app.tasks.base import ExampleBatch
from app.terminal.progress import bar
from data.batching import bounded, row_costs
from data.errors import UserError
from data.prepared import Dataset, prepare
from data.sources import open_source

EXAMPLES_AT_ONCE = 4096


def open_dataset(
    info: ModelInfo, data: str | None, manual_directory: Path | None, overrides: Sequence[str] = ()
) -> Dataset:
    """Return the dataset that a model was trained on, or another one.

    Args:
        info: of the model.
        data: other DATA; None: that of the training.
        manual_directory: raw files of a catalogue dataset.
        overrides: `KEY=VALUE` that say how the files of other DATA are read.

    Raises:
        UserError: the data is missing, or it has changed since the training.
    """
    if data is None and info.data is None:
        raise UserError(f"{info.where} does not record its data; name the data to evaluate on with --data")
    if data is None and overrides:
        raise UserError(
            f"--set {overrides[0]}: the data of the training is read as in training; name the data that it "
            "applies to with --data"
        )
    examples = get_task(info.task).examples
    config = info.config if data is None else for_other_data(info.config, overrides)
    fields = examples.fields(config)
    source = open_source(
        data or info.data or "", fields, examples.shapes, examples.parallel(config), config.options()
    )
    dataset = prepare(
        source,
        fields,
        directory=config.data_directory(),
        manual_directory=manual_directory,
        splitting=config.splitting(),
        validator=examples.validator(config),
    )
    if data is None and dataset.hash != info.dataset_hash:
        raise UserError(
            f"{info.data} has changed since {info.where} was trained on it; "
            "name the data to evaluate on with --data"
        )
    return dataset


def _examples(dataset: Dataset, split: str) -> Iterator[ExampleBatch]:
    """Yield the examples of a split, with a progress bar."""
    with bar("evaluating", dataset.size(split)) as advance:
        for batch in dataset.batches(split, size=EXAMPLES_AT_ONCE):
            costs = enumerate(row_costs(batch).tolist())
            for rows in bounded(costs, lambda row: row[1], largest=LARGEST_CHUNK):
                first, last = rows[0][0], rows[-1][0]
                yield {name: values[first : last + 1] for name, values in batch.items()}
                advance(len(rows))


def baseline(predictor: Predictor, own: Dataset, dataset: Dataset, split: str) -> dict[str, Any] | None:
    """Return the metrics of the baseline on a split of `dataset`, trained on the training examples of `own`.

    They are computed once for the data and the split, and then read from the data directory.
    """
    info, task = predictor.info, get_task(predictor.info.task)
    config = info.config
    names = [metric.name for metric in task.training.metrics(info.preprocessing)]
    identity = json.dumps([versions(), task.name, names, own.hash, dataset.hash, split, config.seed])
    cached = config.data_directory() / "baselines" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
    if cached.exists():
        found: dict[str, Any] = json.loads(cached.read_text())
        return found
    metrics = task.predictions.baseline(
        (own, own.batches("train")), (dataset, dataset.batches(split)), predictor
    )
    if metrics is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_text(cached, dumps(metrics))
    return metrics


def evaluate(
    model: Path | Predictor,
    *,
    data: str | None = None,
    split: str = "test",
    with_baseline: bool = True,
    beam: int | None = None,
    manual_directory: Path | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluate a model.

    Args:
        model: a run directory, an exported SavedModel, or a predictor of one.
        data: other DATA than the model was trained on.
        split: `train`, `validation`, `test` or `all`.
        with_baseline: also train and evaluate the baseline.
        beam: beam width; None: as configured.
        manual_directory: raw files of a catalogue dataset.
        overrides: `KEY=VALUE` that say how the files of `data` are read, if not as in training.

    Returns:
        the JSON object of `evaluate --json`.

    Raises:
        UserError: the model or the data cannot be read, or the split is empty.
    """
    predictor = with_beam(model if isinstance(model, Predictor) else load_predictor(model), beam)
    info, task = predictor.info, get_task(predictor.info.task)
    dataset = open_dataset(info, data, manual_directory, overrides)
    if not dataset.size(split):
        raise UserError(f"{dataset.name}: the {split} split has no examples")
    result = {
        "task": task.name,
        "dataset": dataset.name,
        "split": split,
        **task.predictions.evaluate(predictor, dataset, _examples(dataset, split)),
    }
    if with_baseline:
        try:
            own = open_dataset(info, None, manual_directory) if data else dataset
            metrics = baseline(predictor, own, dataset, split)
        except UserError as error:  # the metrics of the model do not need the training data
            metrics = {"error": str(error)}
        if metrics is not None and task.predictions.baseline_name:
            result["baseline"] = {"name": task.predictions.baseline_name, **metrics}
    return result
