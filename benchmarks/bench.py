"""Compare textrnn with Keras, PyTorch and ONNX Runtime, with the same sizes and the same data.

    make bench                                              # all; generated texts
    make bench OPTIONS="--data DIR --before COMMIT"         # public datasets, and an earlier version
    python benchmarks/bench.py --only layers --quick

The programs take turns in several rounds, each in a process and an environment of its own, and so does a
product of two matrices of 2048 × 2048 float32 numbers, which tells what the machine can do. The results are
medians of the rounds: results.md, results.json and results.png in the folder of --output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from corpora import Corpora
from flops import PRODUCT_SIZE, product
from programs import ENVIRONMENTS, TITLES, Programs, title
from report import Row, plot, rows, table
from rounds import Spread, Worker, WorkerFailed, alternate
from workloads import WORKLOADS, Setting, Workload

MACHINE = "product"


def main() -> None:
    """Run the workloads, and write the results after each of them."""
    arguments = _arguments()
    _use(arguments.threads)
    programs = Programs.find(frozenset(arguments.programs), arguments.before)
    for name, reason in programs.missing.items():
        print(f"left out: {title(name)}: {reason}", file=sys.stderr)
    found: list[Row] = []
    machine: list[float] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_made(ENVIRONMENTS)) as folder, ExitStack() as stack:
        corpora = Corpora(arguments.data, Path(folder, "data"), share=0.25 if arguments.quick else 1)
        setting = Setting(
            corpora,
            programs,
            Path(folder),
            _made(ENVIRONMENTS / "cache"),
            threads=arguments.threads,
            quick=arguments.quick,
        )
        product_of = stack.enter_context(programs.start("keras", {"kind": "product", "calls": 5}))
        product_of.ready()
        for name in arguments.only:
            try:
                workload = WORKLOADS[name](setting)
                seconds, results = measure(workload, programs, product_of, arguments.rounds)
            except WorkerFailed as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
                continue
            machine += seconds
            found += results
            print(f"{name}: {time.monotonic() - began:.0f} s\n{table(results)}\n", flush=True)
            facts = {
                **_facts(arguments),
                "generated": sorted(corpora.generated),
                "product_gflops": rate_spread(machine),
                "seconds": round(time.monotonic() - began),
            }
            write(found, facts, _made(arguments.output))


def measure(
    workload: Workload, programs: Programs, machine: Worker, rounds: int
) -> tuple[list[float], list[Row]]:
    """Measure a workload, and return the seconds of the machine's product, and the results."""
    with ExitStack() as stack:
        started = {
            program: stack.enter_context(programs.start(program, job))
            for program, job in workload.jobs.items()
            if program.partition(":")[0] in programs.chosen
        }
        running = {}
        for program, worker in started.items():
            try:
                worker.ready()
                running[program] = worker
            except WorkerFailed as error:
                print(f"left out: {workload.title}, {title(program)}: {error}", file=sys.stderr)
        if not running:
            return [], []
        calls = {MACHINE: machine.turn} | {program: worker.turn for program, worker in running.items()}
        count = max(rounds, workload.rounds or 0) if rounds > 2 else rounds
        turns = alternate(calls, count)
    seconds = [turn[""]["seconds"] for turn in turns.pop(MACHINE)]
    check_same(workload, turns)
    return seconds, list(rows(workload, turns, seconds))


def check_same(workload: Workload, turns: dict[str, list[Any]]) -> None:
    """Say which programs predict other probabilities than the first one, although they have its weights."""
    first = next(iter(turns))
    for program, found in turns.items():
        for part, measured in found[0].items():
            expected = turns[first][0].get(part, {}).get("probabilities")
            # The earlier version trains a model of its own.
            if expected is None or program == "before":
                continue
            difference = max(abs(a - b) for a, b in zip(measured["probabilities"], expected, strict=True))
            if difference > 1e-4:
                print(
                    f"{workload.title} {part}: {title(program)} differs by {difference:.1e}", file=sys.stderr
                )


def write(found: list[Row], facts: dict[str, Any], output: Path) -> None:
    """Write results.md, results.json and results.png."""
    content = {**facts, "results": [row.described() for row in found]}
    (output / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    rate = facts["product_gflops"]
    said = (
        f"{facts['processor']}, {facts['threads']} threads; a product of two {PRODUCT_SIZE} × {PRODUCT_SIZE} "
        f"matrices: {rate['median']:.0f} GFLOP/s ({rate['lowest']:.0f} to {rate['highest']:.0f})."
    )
    (output / "results.md").write_text(f"{said}\n\n{table(found)}\n", encoding="utf-8")
    plot(found, output / "results.png")


def rate_spread(seconds: list[float]) -> dict[str, float]:
    """Return the spread of the machine's rate in GFLOP/s."""
    return vars(Spread.of(product() / took / 1e9 for took in seconds))


def _facts(arguments: argparse.Namespace) -> dict[str, Any]:
    cpus = Path("/proc/cpuinfo")
    models = (
        [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        if cpus.exists()
        else []
    )
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "threads": arguments.threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
        "before": arguments.before,
        "quick": arguments.quick,
        "load": os.getloadavg()[0],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    public = os.environ.get("TEXTRNN_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(public) if public else None,
        help="folder of the public datasets imdb, sst2, ud_en_ewt, tinyshakespeare; default: $TEXTRNN_DATA; "
        "texts of the same lengths are generated for what it lacks",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(WORKLOADS),
        help="a workload; can be repeated (default: all)",
    )
    parser.add_argument(
        "--programs",
        type=lambda text: text.split(","),
        default=list(TITLES),
        help=f"programs, separated by commas (default: {','.join(TITLES)})",
    )
    parser.add_argument("--before", metavar="COMMIT", help="also measure this earlier version of textrnn")
    parser.add_argument("--rounds", type=int, help="number of rounds (default: 3; with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="a quarter of the examples, two rounds")
    parser.add_argument(
        "--threads", type=int, default=min(2, os.cpu_count() or 1), help="number of CPUs to use (default: 2)"
    )
    parser.add_argument("--output", type=Path, default=ENVIRONMENTS / "results", help="folder of the results")
    arguments = parser.parse_args()
    if unknown := set(arguments.programs) - TITLES.keys():
        parser.error(f"--programs: unknown program {min(unknown)!r}; expected some of {', '.join(TITLES)}")
    arguments.only = arguments.only or list(WORKLOADS)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 3)
    return arguments


def _use(threads: int) -> None:
    """Restrict this process, and those that it starts, to a number of CPUs."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
