"""`textrnn compare`: the same data, trained with every combination of some values of the configuration."""

from __future__ import annotations

import itertools
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.artifacts.files import write_text
from app.artifacts.run import read_run_manifest
from app.config import TaskConfig, load_config
from app.config.differences import value_of
from app.config.keys import keys_of
from app.evaluate import evaluate
from app.inspection.context import measure_context
from app.inspection.memory import horizon_of
from app.inspection.opened import open_to_inspect
from app.json_text import dumps
from app.pictures import picture
from app.prediction.loading import load_predictor
from app.speed import milliseconds
from app.tasks.opening import open_dataset
from app.train import train, with_seeds
from app.training.events import Watcher
from app.training.hparams import write_hparams
from app.training.strategy import check_one_process
from data.errors import UserError

RESULTS = "compare.json"
PICTURE = "compare.svg"
MOST_RUNS = 1000


@dataclass(frozen=True)
class Combination:
    """One value of each key that varies."""

    values: Mapping[str, str]
    """As they were given, by key."""
    config: TaskConfig

    @property
    def name(self) -> str:
        """Return a name for the run directory: `model.cell=lstm,model.units=8` is `cell-lstm_units-8`."""
        parts = (f"{key.rpartition('.')[2]}-{value}" for key, value in self.values.items())
        return re.sub(r"[^\w.+-]", "-", "_".join(parts))


def combinations(
    task: str,
    vary: Sequence[str],
    *,
    config_file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
) -> list[Combination]:
    """Return all combinations of values.

    Args:
        task: name of the task.
        vary: `KEY=A,B,C`, at least one.
        config_file: of `load_config`, as the next two, for all combinations.
        preset: named configuration.
        overrides: `KEY=VALUE`.

    Raises:
        UserError: a key is unknown, occurs twice or has one value; or a combination is impossible.
    """
    known = keys_of(type(load_config(task)))
    choices: dict[str, list[str]] = {}
    for text in vary:
        key, equals, values = text.partition("=")
        found = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or len(set(found)) < 2:
            raise UserError(
                f"--vary {text!r}: expected KEY=A,B with two values or more, e.g. --vary model.cell=gru,lstm"
            )
        if key in choices:
            raise UserError(f"--vary {text!r}: {key} varies already; give all its values in one --vary")
        if key == "seed" or key not in known:
            # The message about an unknown key is that of --set.
            load_config(task, overrides=[f"{key}={found[0]}"])
            raise UserError("--vary seed: give --seeds N, the number of seeds of each combination")
        choices[key] = list(dict.fromkeys(found))
    rows = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    return [
        Combination(
            values,
            load_config(
                task,
                file=config_file,
                preset=preset,
                overrides=[*overrides, *(f"{key}={value}" for key, value in values.items())],
            ),
        )
        for values in rows
    ]


def compare(
    task: str,
    data: str,
    vary: Sequence[str],
    *,
    output: Path,
    seeds: int = 1,
    split: str = "validation",
    config_file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    manual_directory: Path | None = None,
    watcher: Watcher = lambda event: None,
    note: Callable[[str], object] = lambda sentence: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train and evaluate every combination with every seed, one after the other.

    What a former call in the same folder has finished is not repeated, and a training that it began is
    resumed. All combinations get their first seed before one gets its second.

    Args:
        task: name of the task.
        data: DATA, as of `app.train.train`.
        vary: `KEY=A,B,C`, at least one.
        output: folder of the runs, of `compare.json` and of `compare.svg`.
        seeds: number of seeds of each combination.
        split: that the metrics are computed on.
        config_file: configuration of all combinations, as the next two.
        preset: named configuration.
        overrides: `KEY=VALUE`.
        manual_directory: raw files of a catalogue dataset.
        watcher: called with each event of the trainings.
        note: called with a sentence before each training.
        should_stop: called after each event; True saves the state of the training and stops.

    Returns:
        the content of `compare.json`: `task`, `data`, `split`, `metric`, `keys`, and as `rows` of each
        combination its `values`, `runs` and means; None if it was stopped.

    Raises:
        UserError: `output` has the comparison of another task or of other data; or as of `combinations` and
            of `app.train.train`.
    """
    _check_output(output, task, data)
    found = combinations(task, vary, config_file=config_file, preset=preset, overrides=overrides)
    for combination in found:
        check_one_process(combination.config, "textrnn compare")
    if len(found) * seeds > MOST_RUNS:
        raise UserError(f"{len(found) * seeds} trainings are more than {MOST_RUNS}; vary fewer values")
    planned = [
        (combination, *pair)
        for pairs in zip(*(with_seeds(own.config, output / own.name, seeds) for own in found), strict=True)
        for combination, pair in zip(found, pairs, strict=True)
    ]
    results: dict[str, list[dict[str, Any]]] = {own.name: [] for own in found}
    table: dict[str, Any] = {}
    for place, (combination, config, run) in enumerate(planned, 1):
        shown = ", ".join(f"{key} = {value}" for key, value in combination.values.items())
        note(f"{place} of {len(planned)}: {shown}, seed = {config.seed}")
        began, resumed = time.monotonic(), run.exists()
        # A finished run is only checked: it must be of the same data and configuration.
        trained = train(
            task,
            data,
            config,
            run=run,
            resume=resumed,
            manual_directory=manual_directory,
            watcher=watcher,
            should_stop=should_stop,
        )
        if not trained.finished:
            return None
        seconds = None if resumed else time.monotonic() - began
        measured = _measured(trained.path, split, seconds, manual_directory)
        results[combination.name].append(measured)
        values = {key: value_of(config, key) for key in combination.values}
        write_hparams(run, {**values, "seed": config.seed}, metric=measured["metric"])
        table = _table(task, data, split, found, results)
        write_text(output / RESULTS, dumps(table, indent=1))
    return table


def _check_output(output: Path, task: str, data: str) -> None:
    """Require that a folder has no comparison of another task or of other data."""
    if not (output / RESULTS).exists():
        return
    before = json.loads((output / RESULTS).read_text())
    if (before["task"], before["data"]) != (task, data):
        raise UserError(
            f"{output}: has a comparison of {before['task']} on {before['data']}, not of {task} on {data}; "
            "give another folder with --output"
        )


def _measured(run: Path, split: str, seconds: float | None, manual_directory: Path | None) -> dict[str, Any]:
    """Evaluate a finished run and measure it, or return what was measured before.

    Args:
        run: its folder.
        split: that it is evaluated on.
        seconds: time of its training; None if it is not known, since the training was resumed.
        manual_directory: raw files of a catalogue dataset.

    Returns:
        `run`, `seed`, `metric` and its `value`, `seconds`, `parameters`, `milliseconds`, the median time of
        a text; `horizon`, the tokens that half of the gradient reaches back; and `context`, the last tokens
        that most predictions need.
    """
    path = run.with_name(f"{run.name}.{split}.json")
    if path.exists():
        before: dict[str, Any] = json.loads(path.read_text())
        return before
    predictor = load_predictor(run)
    metrics = evaluate(predictor, split=split, with_baseline=False, manual_directory=manual_directory)
    name = predictor.info.config.training.early_stopping_metric
    result = {
        "run": run.name,
        "seed": predictor.info.config.seed,
        "metric": name,
        "value": metrics[name],
        "seconds": seconds,
        "parameters": read_run_manifest(run).parameters,
        "milliseconds": milliseconds(predictor, open_dataset(predictor.info, None, manual_directory), split),
        **_memory(run),
    }
    write_text(path, dumps(result))
    return result


def _memory(run: Path) -> dict[str, float | None]:
    """Return how far back a network remembers, in tokens: `horizon` and `context`."""
    try:
        opened = open_to_inspect(run)
        context = measure_context(opened.inspection, opened.validation)
    except UserError:  # a task without inspection, or a catalogue dataset that is not prepared
        return {"horizon": None, "context": None}
    return {"horizon": horizon_of(opened), "context": context.enough}


def _table(
    task: str,
    data: str,
    split: str,
    found: Sequence[Combination],
    results: Mapping[str, Sequence[dict[str, Any]]],
) -> dict[str, Any]:
    done = [(own, results[own.name]) for own in found if results[own.name]]
    return {
        "task": task,
        "data": data,
        "split": split,
        "metric": done[0][1][0]["metric"],
        "keys": list(found[0].values),
        "rows": [{"values": dict(own.values), "runs": list(runs), **_means(runs)} for own, runs in done],
    }


def _means(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the metric over the seeds, its standard error, and what else is known of runs."""
    values = [run["value"] for run in runs]
    return {
        "mean": statistics.mean(values),
        "standard_error": statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None,
        "seconds": _mean(runs, "seconds"),
        "parameters": runs[0]["parameters"],
        "milliseconds": statistics.median(run["milliseconds"] for run in runs),
        "horizon": _mean(runs, "horizon"),
        "context": _mean(runs, "context"),
    }


def _mean(runs: Sequence[dict[str, Any]], name: str) -> float | None:
    """Return the mean over the runs that have a value, or None."""
    values = [run[name] for run in runs if run[name] is not None]
    return statistics.mean(values) if values else None


def draw(table: Mapping[str, Any], output: Path) -> None:
    """Draw the metric of each combination: the values of all seeds, their mean and its standard error.

    Args:
        table: of `compare`.
        output: an SVG or PNG file.

    Raises:
        UserError: Matplotlib is not installed, or the file cannot be written.
    """
    first, *others = table["keys"]
    places = list(dict.fromkeys(row["values"][first] for row in table["rows"]))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table["rows"]:
        groups.setdefault(", ".join(f"{key} = {row['values'][key]}" for key in others), []).append(row)
    with picture(output, 1.5 + 1.2 * max(len(places), 3), 4) as figure:
        axes = figure.subplots()
        for number, (name, rows) in enumerate(groups.items()):
            shift = 0.5 * (number + 0.5) / len(groups) - 0.25
            x = [places.index(row["values"][first]) + shift for row in rows]
            errors = [row["standard_error"] or 0 for row in rows]
            (line, *_) = axes.errorbar(
                x, [row["mean"] for row in rows], errors, fmt="o", capsize=4, label=name
            )
            for place, row in zip(x, rows, strict=True):
                own = [run["value"] for run in row["runs"]]
                axes.scatter([place] * len(own), own, s=9, alpha=0.5, color=line.get_color())
        axes.set_xticks(range(len(places)), places)
        axes.set_xlabel(first)
        axes.set_ylabel(f"{table['metric']}, {table['split']} split")
        axes.grid(axis="y", alpha=0.3)
        if others:
            axes.legend()
