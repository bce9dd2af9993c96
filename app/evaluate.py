"""`textrnn evaluate`: metrics of a model, or of several runs, on a split, next to those of a baseline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from app.artifacts.files import versions, write_text
from app.artifacts.run import open_run
from app.bootstrap import Difference, Outcomes, difference, interval_of
from app.config import changed_keys
from app.json_text import dumps
from app.prediction.kernels import AUTO
from app.prediction.loading import load_predictor, with_beam
from app.prediction.predictor import LARGEST_CHUNK, ModelInfo, Predictor
from app.tasks import get_task
from app.tasks.base import Evaluation, ExampleBatch
from app.tasks.opening import open_dataset
from app.terminal.progress import bar
from data.batching import bounded, row_costs
from data.errors import UserError
from data.prepared import Dataset

EXAMPLES_AT_ONCE = 4096
BASELINE_VERSION = 2
"""Version of the stored results of baselines."""
WITHOUT_EFFECT = (
    *("seed", "data.directory", "training.kernels", "training.steps_per_checkpoint"),
    *("card.license", "card.language"),
)
"""Keys in which runs may differ that are compared as one model: their effect is that of a seed, or none."""


def _examples(dataset: Dataset, split: str) -> Iterator[ExampleBatch]:
    """Yield the examples of a split in batches of bounded size."""
    for batch in dataset.batches(split, size=EXAMPLES_AT_ONCE):
        costs = enumerate(row_costs(batch).tolist())
        for rows in bounded(costs, lambda row: row[1], largest=LARGEST_CHUNK):
            first, last = rows[0][0], rows[-1][0]
            yield {name: values[first : last + 1] for name, values in batch.items()}


def _shown(dataset: Dataset, split: str) -> Iterator[ExampleBatch]:
    """Yield the examples of a split, with a progress bar."""
    with bar("evaluating", dataset.size(split)) as advance:
        for batch in _examples(dataset, split):
            yield batch
            advance(len(next(iter(batch.values()))))


def baseline(predictor: Predictor, own: Dataset, dataset: Dataset, split: str) -> Evaluation | None:
    """Evaluate the baseline on a split of `dataset`, trained on the training examples of `own`.

    It is computed once for the data, its tokens and the split, and then read from the data directory.
    """
    info, task = predictor.info, get_task(predictor.info.task)
    config = info.config
    names = [metric.name for metric in task.training.metrics(info.preprocessing)]
    identity = json.dumps(
        [
            *(BASELINE_VERSION, versions(), task.name, names, own.hash, dataset.hash, split, config.seed),
            config.text.model_dump(),
        ],
    )
    cached = config.data_directory() / "baselines" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
    if cached.exists():
        stored: dict[str, Any] = json.loads(cached.read_text())
        outcomes = {name: Outcomes(*map(np.array, values)) for name, values in stored["outcomes"].items()}
        return Evaluation(stored["metrics"], outcomes)
    found = task.predictions.baseline(
        (own, own.batches("train")), (dataset, dataset.batches(split)), predictor
    )
    if found is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        outcomes_as_lists = {
            name: [column.tolist() for column in values] for name, values in found.outcomes.items()
        }
        write_text(cached, dumps({"metrics": found.metrics, "outcomes": outcomes_as_lists}))
    return found


class _Opened(NamedTuple):
    """What models are evaluated on."""

    own: Dataset | None
    """The dataset of the training; None if it was not found."""
    dataset: Dataset
    split: str
    error: str
    """Why there is no `own`."""


def _open(
    info: ModelInfo, data: str | None, split: str, manual_directory: Path | None, overrides: Sequence[str]
) -> _Opened:
    dataset = open_dataset(info, data, manual_directory, overrides)
    if not dataset.size(split):
        raise UserError(f"{dataset.name}: the {split} split has no examples")
    if data is None:
        return _Opened(dataset, dataset, split, "")
    try:
        return _Opened(open_dataset(info, None, manual_directory), dataset, split, "")
    except UserError as error:  # the metrics of a model do not need the training data
        return _Opened(None, dataset, split, str(error))


def _evaluate(predictor: Predictor, opened: _Opened) -> Evaluation:
    predictions = get_task(predictor.info.task).predictions
    return predictions.evaluate(predictor, opened.dataset, _shown(opened.dataset, opened.split))


def _baseline(predictor: Predictor, opened: _Opened) -> Evaluation | None:
    """Return the baseline with its name, or with an error; None if the task has none."""
    name = get_task(predictor.info.task).predictions.baseline_name
    if not name:
        return None
    if opened.own is None:
        return Evaluation({"name": name, "error": opened.error})
    try:
        found = baseline(predictor, opened.own, opened.dataset, opened.split)
    except UserError as error:
        found = Evaluation({"error": str(error)})
    return found and found._replace(metrics={"name": name, **found.metrics})


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
        the JSON object of `evaluate --json`. `intervals` are the 95 % intervals of the main metrics,
        `comparison` the differences from the baseline, see `app.bootstrap`.

    Raises:
        UserError: the model or the data cannot be read, or the split is empty.
    """
    predictor = with_beam(model if isinstance(model, Predictor) else load_predictor(model), beam)
    opened = _open(predictor.info, data, split, manual_directory, overrides)
    found = _evaluate(predictor, opened)
    return _result(predictor, opened, found, with_baseline=with_baseline)


def evaluate_dataset(
    predictor: Predictor, dataset: Dataset, split: str, *, with_baseline: bool
) -> dict[str, Any]:
    """Evaluate a model on a split of the data of its training, or of an excerpt; nothing is printed.

    Args:
        predictor: of a run.
        dataset: that the model was trained on; the baseline is, too.
        split: of the dataset; it has examples.
        with_baseline: also train and evaluate the baseline.

    Returns:
        what `evaluate` returns.

    Raises:
        UserError: as of `Predictions.evaluate`.
    """
    opened = _Opened(dataset, dataset, split, "")
    predictions = get_task(predictor.info.task).predictions
    found = predictions.evaluate(predictor, dataset, _examples(dataset, split))
    return _result(predictor, opened, found, with_baseline=with_baseline)


def _result(
    predictor: Predictor, opened: _Opened, found: Evaluation, *, with_baseline: bool
) -> dict[str, Any]:
    result = {**_heading(predictor, opened), **found.metrics}
    if intervals := _intervals(found):
        result["intervals"] = intervals
    if with_baseline and (other := _baseline(predictor, opened)):
        result["baseline"] = other.metrics
        if comparison := _comparison([found], other):
            result["comparison"] = comparison
    return result


def evaluate_runs(
    runs: Sequence[Path],
    *,
    data: str | None = None,
    split: str = "test",
    with_baseline: bool = True,
    beam: int | None = None,
    kernels: str = AUTO,
    manual_directory: Path | None = None,
    overrides: Sequence[str] = (),
    note: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Evaluate runs that differ in their seeds only, one after the other.

    Args:
        runs: at least two run directories.
        data: as of `evaluate`, like the following ones.
        split: of the data.
        with_baseline: also train and evaluate the baseline, with the seed of the first run.
        beam: beam width.
        kernels: as of `load_predictor`.
        manual_directory: raw files of a catalogue dataset.
        overrides: how the files of `data` are read.
        note: called with a sentence about the native kernels.

    Returns:
        the JSON object of `evaluate --json` with several runs: `runs` with the metrics of each; by the name
        of the metric the `mean` and the `standard_error` of the mean, which is the sample standard deviation
        divided by the square root of the number of runs; `baseline`, and as `comparison` the difference of
        the mean from the baseline.

    Raises:
        UserError: as of `evaluate`; or the runs differ in more than their seeds.
    """
    check_comparable(runs)
    evaluations: list[Evaluation] = []
    result: dict[str, Any] = {}
    other = None
    for run in runs:
        predictor = with_beam(load_predictor(run, kernels, note=note), beam)
        if not evaluations:
            opened = _open(predictor.info, data, split, manual_directory, overrides)
            result = _heading(predictor, opened)
            other = _baseline(predictor, opened) if with_baseline else None
        found = _evaluate(predictor, opened)
        evaluations.append(found)
        own = {"run": str(run), "seed": predictor.info.config.seed, **found.metrics}
        result.setdefault("runs", []).append(own | {"intervals": _intervals(found)})
    first = evaluations[0].metrics
    result["examples"] = first["examples"]
    values = {
        name: np.array([own.metrics[name] for own in evaluations])
        for name, value in first.items()
        if isinstance(value, float) and all(name in own.metrics for own in evaluations)
    }
    result["mean"] = {name: float(own.mean()) for name, own in values.items()}
    result["standard_error"] = {
        name: float(own.std(ddof=1) / np.sqrt(len(own))) for name, own in values.items()
    }
    if other is not None:
        result["baseline"] = other.metrics
        if comparison := _comparison(evaluations, other):
            result["comparison"] = comparison
    return result


def check_comparable(runs: Sequence[Path]) -> None:
    """Require that runs differ in their seeds, and in nothing else that changes a result.

    Raises:
        UserError: they differ in more, or two have the same seed.
    """
    if len(runs) < 2:
        raise UserError("give at least two runs to compare")
    first, *others = map(open_run, runs)
    seen = {first.config.seed: first.path}
    for run in others:
        where = f"{run.path} cannot be compared with {first.path}"
        if run.task != first.task:
            raise UserError(f"{where}: its task is {run.task}, not {first.task}")
        if changed := changed_keys(first.config, run.config, without=WITHOUT_EFFECT):
            raise UserError(
                f"{where}: {'; '.join(changed)}; several runs must differ in their seed only; evaluate runs "
                "of other configurations separately"
            )
        if run.manifest.dataset_hash != first.manifest.dataset_hash:
            raise UserError(
                f"{where}: it was trained on other examples: dataset_hash is {run.manifest.dataset_hash!r}, "
                f"not {first.manifest.dataset_hash!r}{_split_by_seed(run.config.data.split)}"
            )
        if run.config.seed in seen:
            raise UserError(
                f"{where}: {seen[run.config.seed]} has the same seed, {run.config.seed}; train one with "
                "another seed, e.g. --set seed=1"
            )
        seen[run.config.seed] = run.path


def _split_by_seed(split: str) -> str:
    """Return the remedy if each seed splits the examples in another way."""
    if split == "hash":
        return ""
    return f"; with data.split={split} each seed makes other splits: train with data.split=hash"


def _heading(predictor: Predictor, opened: _Opened) -> dict[str, Any]:
    return {"task": predictor.info.task, "dataset": opened.dataset.name, "split": opened.split}


def _intervals(found: Evaluation) -> dict[str, list[float]]:
    intervals = {name: interval_of(own) for name, own in found.outcomes.items()}
    return {name: list(own) for name, own in intervals.items() if own is not None}


def _comparison(models: Sequence[Evaluation], other: Evaluation) -> dict[str, Any]:
    """Compare the mean of models with the baseline in each metric that both have."""
    compared: dict[str, Difference | None] = {
        name: difference([model.outcomes[name] for model in models], own)
        for name, own in other.outcomes.items()
    }
    return {
        name: {"difference": own.value, "interval": list(own.interval), "different": own.is_shown}
        for name, own in compared.items()
        if own is not None
    }
