"""Batch prediction with two workers of Apache Beam's DirectRunner, beside `textrnn predict`.

    python benchmarks/beam.py --rows 1000000

The rows are sentences of `sample:reviews`, some of them joined to longer texts. Without --export, a model is
trained on that sample. Both programs predict all rows, and 64 rows, whose time is taken as that of starting;
the predictions are compared row by row. The table is Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data.samples import reviews

FEW = 64
"""Rows of the run whose time is that of starting."""
SHARDS = 8
SENTENCES = (1, 1, 1, 2, 3, 8)
"""Numbers of sentences in a text, equally frequent."""
PYTHON = (sys.executable, "-m")


class Compared(NamedTuple):
    """The predictions of two programs for the same rows."""

    identical: int
    """Rows with the same line."""
    labels: int
    """Rows with the same label."""
    difference: float
    """Largest difference of two probabilities."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--mode", default="multi_processing", help="--direct_running_mode of the runner")
    parser.add_argument("--export", type=Path, help="export of a classifier; otherwise one is trained")
    parser.add_argument("--folder", type=Path, help="folder for rows and predictions, which are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        export = arguments.export or trained(folder)
        seconds: dict[tuple[str, int], float] = {}
        for rows in (FEW, arguments.rows):
            own = folder / str(rows)
            write_rows(own, rows)
            seconds["predict", rows] = timed(
                *("app", "predict", export, own / "all.jsonl", "--output", own / "predict.jsonl")
            )
            seconds["beam", rows] = timed(
                *("app.beam", "--model", export, "--input", own / "rows-*.jsonl"),
                *("--output", own / "beam", "--with-source", "--runner", "DirectRunner"),
                *("--direct_num_workers", arguments.workers, "--direct_running_mode", arguments.mode),
            )
        print(table(seconds, arguments))
        found = compared(folder / str(arguments.rows), arguments.rows)
    print(
        f"\nOf {arguments.rows:,} rows {found.identical:,} have the same line, {found.labels:,} the same "
        f"label; the largest difference of two probabilities is {found.difference:.0e}."
    )
    sys.exit(found.labels != arguments.rows)


def trained(folder: Path) -> Path:
    """Train and export a classifier."""
    run = folder / "run"
    timed("app", "train", "classification", "sample:reviews", "--run", run, "--preset", "fast", "--no-report")
    timed("app", "export", run, "--output", folder / "export")
    return folder / "export" / "1"


def write_rows(folder: Path, rows: int) -> None:
    """Write the rows as one file, and in shards."""
    chance = random.Random(0)
    sentences = [example["text"] for example in reviews(0)["train"]]
    folder.mkdir(parents=True, exist_ok=True)
    per_shard = -(-rows // SHARDS)
    with (folder / "all.jsonl").open("w", encoding="utf-8") as whole:
        for shard in range(SHARDS):
            with (folder / f"rows-{shard}.jsonl").open("w", encoding="utf-8") as part:
                for _ in range(min(per_shard, rows - shard * per_shard)):
                    text = " ".join(chance.choices(sentences, k=chance.choice(SENTENCES)))
                    line = json.dumps({"text": text}) + "\n"
                    whole.write(line)
                    part.write(line)


def timed(*arguments: object) -> float:
    """Run a module, and return its seconds."""
    print(*arguments, file=sys.stderr, flush=True)
    start = time.perf_counter()
    done = subprocess.run([*PYTHON, *map(str, arguments)], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start


def table(seconds: dict[tuple[str, int], float], arguments: argparse.Namespace) -> str:
    """Return the times of both programs."""
    rows = arguments.rows
    titles = {
        "predict": "`textrnn predict`",
        "beam": f"`python -m app.beam`, DirectRunner, {arguments.workers} workers, {arguments.mode}",
    }
    lines = [
        "| program | seconds | of these to start | rows per second after the start |",
        "|---|---|---|---|",
    ]
    for name, title in titles.items():
        start, whole = seconds[name, FEW], seconds[name, rows]
        speed = (rows - FEW) / (whole - start) if whole > start else float("nan")
        lines.append(f"| {title} | {whole:.1f} | {start:.1f} | {speed:,.0f} |")
    return "\n".join(lines)


def compared(folder: Path, rows: int) -> Compared:
    """Compare the predictions of all rows; exit if one is missing or there twice."""
    per_shard = -(-rows // SHARDS)
    with (folder / "predict.jsonl").open(encoding="utf-8") as file:
        expected: list[str | None] = list(file)
    identical = labels = 0
    difference = 0.0
    for prediction in predictions(folder):
        shard = int(Path(prediction.pop("file")).stem.removeprefix("rows-"))
        place = shard * per_shard + prediction.pop("line") - 1
        line, expected[place] = expected[place], None
        if line is None:
            sys.exit(f"row {place + 1} was predicted twice")
        other = json.loads(line)
        identical += other == prediction
        labels += other["label"] == prediction["label"]
        pairs = ((p, prediction["probabilities"][name]) for name, p in other["probabilities"].items())
        difference = max(difference, *(abs(one - two) for one, two in pairs))
    if missing := sum(line is not None for line in expected):
        sys.exit(f"{missing} rows were not predicted")
    return Compared(identical, labels, difference)


def predictions(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the predictions of all shards."""
    for path in folder.glob("beam-*.jsonl"):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


if __name__ == "__main__":
    main()
