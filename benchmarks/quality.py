"""Train and evaluate every task on public datasets, over several seeds: the tables of docs/results.md.

    python benchmarks/quality.py DIR --output quality            # defaults, five seeds, test splits
    python benchmarks/quality.py DIR --output quality --presets best --only imdb sst2
    python benchmarks/quality.py DIR --output choices --split validation --seeds 2 \
        --variant plain --variant averaged training.ema=0.999
    python benchmarks/quality.py DIR --output few --only sst2 banking77 --rows 100 300 1000 --seeds 3

DIR has the folders of `DATASETS`. Each training is a `textrnn train`, one after the other. Run the same
command again after an interruption: what is finished is not repeated, and a training is resumed. The files
results.json and results.md of the output folder have the results so far.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Data:
    """A public dataset."""

    task: str
    path: str
    metrics: tuple[str, ...]
    """Of `evaluate --json`."""
    settings: tuple[str, ...] = ()


DATASETS = {
    "imdb": Data("classification", "imdb", ("accuracy",)),
    "sst2": Data("classification", "sst2", ("accuracy",)),
    "banking77": Data("classification", "banking77", ("accuracy",), ("data.label_column=category",)),
    "snips": Data("tagging", "snips", ("span_f1", "label_accuracy", "exact_match")),
    "ud_en_ewt": Data("tagging", "ud_en_ewt", ("accuracy",)),
    "ud_el_gud": Data("tagging", "ud_el_gud", ("accuracy",)),
    "tinyshakespeare": Data("generation", "tinyshakespeare/input.txt", ("loss",)),
    "multi30k": Data("translation", "multi30k", ("bleu", "chrf"), ("data.source=en", "data.target=de")),
    "sample:reviews": Data("classification", "sample:reviews", ("accuracy",)),
    "sample:tags": Data("tagging", "sample:tags", ("span_f1", "label_accuracy", "exact_match")),
    "sample:text": Data("generation", "sample:text", ("loss",)),
    "sample:pairs": Data("translation", "sample:pairs", ("bleu", "chrf")),
}
"""The samples are part of textrnn, the others are folders and files of DIR."""


@dataclass(frozen=True)
class Variant:
    """A way to train."""

    name: str
    options: tuple[str, ...] = ()
    """Of `textrnn train`."""
    rows: int | None = None
    """Number of training rows, drawn at random with the seed; None: all."""


def main() -> None:
    """Train and evaluate what is not finished yet, and write the tables after each training."""
    if sys.argv[1:2] == ["--time"]:
        print(json.dumps(time_one_by_one(*map(Path, sys.argv[2:]))))
        return
    arguments = _arguments()
    found: list[dict[str, Any]] = []
    for name, variant, seed in _planned(arguments):
        found.append(one(name, variant, seed, arguments.data, arguments.output, arguments.split))
        (arguments.output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
        (arguments.output / "results.md").write_text(table(found))
    print(table(found), end="")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the datasets")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--only", nargs="+", choices=DATASETS, default=list(DATASETS), help="datasets")
    parser.add_argument("--presets", nargs="+", default=["default"], help="presets; default: none")
    parser.add_argument(
        "--variant", nargs="+", action="append", default=[], help="a name and KEY=VALUE, in place of presets"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument(
        "--rows", nargs="+", type=int, help="numbers of training rows, of JSON Lines or CSV; default: all"
    )
    return parser.parse_args()


def _planned(arguments: argparse.Namespace) -> Iterator[tuple[str, Variant, int]]:
    """Yield all trainings; every variant gets its first seed before another gets its second."""
    variants = [Variant(name, () if name == "default" else ("--preset", name)) for name in arguments.presets]
    if arguments.variant:
        variants = [
            Variant(name, tuple(option for setting in settings for option in ("--set", setting)))
            for name, *settings in arguments.variant
        ]
    if arguments.rows:
        variants = [
            Variant(f"{variant.name}-{rows}", variant.options, rows)
            for rows in arguments.rows
            for variant in variants
        ]
    for name in arguments.only:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            for variant in variants:
                yield name, variant, seed


def one(name: str, variant: Variant, seed: int, folder: Path, output: Path, split: str) -> dict[str, Any]:
    """Return the results of one training, from the output folder if it is finished."""
    data, run = DATASETS[name], output / f"{name.replace(':', '-')}-{variant.name}-{seed}"
    finished = run.with_suffix(f".{split}.json")
    if finished.exists():
        result: dict[str, Any] = json.loads(finished.read_text())
        return result
    settings = [option for setting in (*data.settings, f"seed={seed}") for option in ("--set", setting)]
    source: Path | str = data.path if data.path.startswith("sample:") else folder / data.path
    if variant.rows is not None:
        source = with_fewer_rows(
            source, output / "rows" / f"{name}-{variant.rows}-{seed}", variant.rows, seed
        )
    train = ["train", data.task, source, "--run", run, *settings, *variant.options]
    spent = run.with_suffix(".time.json")
    if not spent.exists():
        resumed = run.exists()
        seconds, cpu_seconds = timed([*train, *(["--resume"] if resumed else [])])
        # The time of a training that was resumed is not known.
        took = {"seconds": seconds, "cpu_seconds": cpu_seconds, "resumed": resumed}
        spent.write_text(json.dumps(took))
    evaluated = json.loads(textrnn(["evaluate", run, "--split", split, "--json"]))
    manifest = json.loads((run / "manifest.json").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = {
        "data": name,
        "variant": variant.name,
        "options": [*map(str, settings), *variant.options],
        "seed": seed,
        "split": split,
        "metrics": {metric: evaluated[metric] for metric in data.metrics},
        "branches": evaluated.get("branches"),
        "baseline": evaluated.get("baseline"),
        "epochs": max(line["epoch"] for line in lines),
        "best_epoch": max((line["epoch"] for line in lines if line.get("best")), default=None),
        "parameters": manifest["parameters"],
        "kernels": manifest.get("kernels"),
        **json.loads(spent.read_text()),
        **of_export(run),
    }
    finished.write_text(json.dumps(result, indent=1) + "\n")
    return result


def with_fewer_rows(source: Path, folder: Path, rows: int, seed: int) -> Path:
    """Write a folder with so many training rows of a dataset, drawn at random, and with its other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        text = path.read_text()
        if path.stem == "train":
            header, *lines = read_rows(text) if path.suffix == ".csv" else ["", *text.splitlines()]
            text = "\n".join([header] * bool(header) + random.Random(seed).sample(lines, rows)) + "\n"
        (folder / path.name).write_text(text)
    return folder


def read_rows(text: str) -> list[str]:
    """Return the rows of a CSV text, each as it is written."""
    buffer, found = io.StringIO(), []
    for row in csv.reader(io.StringIO(text)):
        csv.writer(buffer, lineterminator="\n").writerow(row)
        found.append(buffer.getvalue().removesuffix("\n"))
        buffer = io.StringIO()
    return found


def of_export(run: Path) -> dict[str, float]:
    """Export and verify a run; return the size of the export, and the median time of one text.

    For generation that is the time of 100 tokens.
    """
    with tempfile.TemporaryDirectory() as folder:
        textrnn(["export", run, "--output", folder])
        textrnn(["verify", folder])
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        measured = subprocess.run(
            [sys.executable, __file__, "--time", folder, run], check=True, stdout=subprocess.PIPE, text=True
        )
    return {"export_bytes": size, "milliseconds": json.loads(measured.stdout)}


def time_one_by_one(export: Path, run: Path) -> float:
    """Return the median time of one test text, in ms."""
    from app.prediction.loading import load_predictor
    from app.speed import milliseconds
    from app.tasks.opening import open_dataset

    dataset = open_dataset(load_predictor(run).info, None, None)
    return milliseconds(load_predictor(export), dataset, "test")


def textrnn(arguments: Sequence[object]) -> str:
    """Run a command of textrnn, and return what it prints.

    Raises:
        subprocess.CalledProcessError: it failed; what it printed is on standard error.
    """
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:  # `verify` prints what is wrong with an export
        print(done.stdout, file=sys.stderr)
    done.check_returncode()
    return done.stdout


def timed(arguments: Sequence[object]) -> tuple[float, float]:
    """Run a command of textrnn; return its time and its CPU time, in seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    textrnn(arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: means over the seeds, with standard errors."""
    groups = defaultdict(list)
    for result in found:
        groups[result["data"], result["variant"]].append(result)
    lines = [
        "| data, split | trained with | seeds | metric | mean | standard error | baseline | epochs | time, s "
        "| CPU time, s | parameters | export, MB | one text, ms |",
        "|" + "---|" * 13,
    ]
    for (name, variant), results in groups.items():
        facts = [
            f"{mean(results, 'epochs'):.1f}",
            f"{mean(results, 'seconds'):,.0f}",
            f"{mean(results, 'cpu_seconds'):,.0f}",
            f"{results[0]['parameters']:,}",
            f"{mean(results, 'export_bytes') / 1e6:.1f}",
            f"{mean(results, 'milliseconds'):.2f}",
        ]
        for metric in results[0]["metrics"]:
            values = [result["metrics"][metric] for result in results]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            baseline = (results[0]["baseline"] or {}).get(metric)
            cells = [
                f"{name}, {results[0]['split']}",
                variant,
                str(len(results)),
                metric,
                f"{statistics.mean(values):.4f}",
                "–" if error is None else f"{error:.4f}",
                "–" if baseline is None else f"{baseline:.4f}",
                *facts,
            ]
            lines.append(f"| {' | '.join(cells)} |")
            facts = [""] * len(facts)
    return "\n".join(lines) + "\n"


def mean(results: Sequence[dict[str, Any]], key: str) -> float:
    """Return the mean of a number over results."""
    return statistics.mean(result[key] for result in results)


if __name__ == "__main__":
    main()
