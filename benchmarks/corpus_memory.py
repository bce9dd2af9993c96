"""Peak memory of `textrnn` on generated corpora of different sizes.

    python benchmarks/corpus_memory.py DIR --megabytes 400 4000

For each size: `datasets prepare`, `train` (one epoch of a small network), `evaluate` on the test split, a
tenth of the corpus, and `predict` on another tenth. DIR gets the corpora, the prepared data and the runs.

Two peaks are printed. Anonymous memory is what a process has allocated; it is compared. Resident memory
has, besides, pages of files: libraries, and those of memory-mapped token ids, which the system takes back
whenever it needs memory. Both are sums over the process and those that it has started, sampled 20 times a
second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from large_file import write_reviews

INTERVAL = 0.05
"""Seconds between samples."""
SMALL = ("model.units=8", "text.max_length=16", "training.epochs=1", "training.batch_size=256")


class Peak(NamedTuple):
    """Peaks of a command."""

    anonymous: float
    """MB that it had allocated."""
    resident: float
    """MB, pages of files included."""
    seconds: float
    cpu_seconds: float


def measured(command: Sequence[str], log: Path) -> Peak:
    """Run a command, and measure the memory of all its processes.

    Raises:
        SystemExit: it fails.
    """
    began, before = time.monotonic(), os.times()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        anonymous = resident = 0
        while process.poll() is None:
            found = list(_memory(process.pid))
            anonymous = max(anonymous, sum(own for own, _ in found))
            resident = max(resident, sum(own for _, own in found))
            time.sleep(INTERVAL)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: status {process.returncode}, see {log}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Peak(anonymous / 1024, resident / 1024, time.monotonic() - began, used)


def _memory(process: int) -> Iterator[tuple[int, int]]:
    """Yield anonymous and resident memory in kB of a process and of its descendants."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        found = {
            name: int(kilobytes.split()[0])
            for name, kilobytes in (line.split(":", 1) for line in lines)
            if name in ("RssAnon", "VmRSS")
        }
        children = [
            int(child)
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has just ended
        return
    if found:
        yield found["RssAnon"], found["VmRSS"]
    for child in children:
        yield from _memory(child)


def commands(corpus: Path, directory: Path) -> dict[str, list[str]]:
    """Return the commands that are measured, by name."""
    own = [f"data.directory={directory / 'data'}", *SMALL]
    options = [part for setting in own for part in ("--set", setting)]
    run = directory / "run"
    return {
        "prepare": ["datasets", "prepare", str(corpus), "--set", own[0]],
        "train": ["train", "classification", str(corpus), "--run", str(run), *options],
        "evaluate": ["evaluate", str(run)],
        "evaluate, no baseline": ["evaluate", str(run), "--no-baseline"],
        "predict": ["predict", str(run), str(directory / "more.jsonl"), "--output", str(directory / "out")],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[400, 4000])
    parser.add_argument("--only", nargs="+", help="names of the commands; without it, all")
    arguments = parser.parse_args()

    peaks: dict[str, list[Peak]] = {}
    for size in arguments.megabytes:
        directory = arguments.directory / f"{size:g}"
        directory.mkdir(parents=True, exist_ok=True)
        corpus = directory / "reviews.jsonl"
        count, written = write_reviews(corpus, size * 1e6)
        write_reviews(directory / "more.jsonl", size * 1e5, seed=1)
        print(f"{written:,} bytes, {count:,} examples", flush=True)
        for name, command in commands(corpus, directory).items():
            if arguments.only and name not in arguments.only:
                continue
            log = directory / f"{name}.log"
            peak = measured([sys.executable, "-m", "app", *command], log)
            peaks.setdefault(name, []).append(peak)
            print(
                f"{size:,.0f} MB, {name}: {peak.anonymous:,.0f} MB anonymous, "
                f"{peak.resident:,.0f} MB resident, {peak.seconds:,.0f} s, {peak.cpu_seconds:,.0f} s of CPU",
                flush=True,
            )
    for name, found in peaks.items():
        print(
            f"{name}: {' '.join(f'{own.anonymous / found[0].anonymous:.2f}' for own in found)} of the first"
        )


if __name__ == "__main__":
    main()
