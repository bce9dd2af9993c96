"""What `textrnn suggest` gains: accuracy against the number of labelled rows, beside a random choice.

    python benchmarks/labelling.py DIR --label-column category --output labelling --rounds 6

DIR has train.csv, whose rows are the pool, and test.csv. Each round trains on all rows that are labelled so
far, evaluates on the test split, and labels further rows: those that `suggest` chooses, or random ones. The
file curve.json of the output folder has the results so far.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, str]


def main() -> None:
    """Print the accuracies of both choices after each round."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder with train.csv and test.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--first", type=int, default=500, help="rows that are labelled at random at first")
    parser.add_argument("--step", type=int, default=500, help="rows that each round adds")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0")
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for choice in ("random", "suggest"):
            found += curve(arguments, choice, seed)
            arguments.output.mkdir(parents=True, exist_ok=True)
            (arguments.output / "curve.json").write_text(json.dumps(found, indent=1) + "\n")
    for line in found:
        print(json.dumps(line))


def curve(arguments: argparse.Namespace, choice: str, seed: int) -> list[dict[str, Any]]:
    """Return the accuracy after each round of one way to choose."""
    with (arguments.data / "train.csv").open(newline="") as file:
        pool = list(csv.DictReader(file))
    random.Random(seed).shuffle(pool)
    labelled, pool = pool[: arguments.first], pool[arguments.first :]
    found = []
    for number in range(arguments.rounds):
        folder = arguments.output / f"{choice}-{seed}-{number}"
        accuracy = trained(arguments, labelled, folder, seed)
        found.append({"choice": choice, "seed": seed, "rows": len(labelled), "accuracy": accuracy})
        print(json.dumps(found[-1]), flush=True)
        chosen = pool[: arguments.step] if choice == "random" else suggested(arguments, pool, folder)
        labelled = labelled + chosen
        keys = {row[arguments.text_column] for row in chosen}
        pool = [row for row in pool if row[arguments.text_column] not in keys]
    return found


def trained(arguments: argparse.Namespace, rows: Sequence[Row], folder: Path, seed: int) -> float:
    """Train on rows; return the accuracy on the test split."""
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "data"
    data.mkdir(parents=True)
    with (data / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.copy(arguments.data / "test.csv", data)
    columns = [f"data.text_column={arguments.text_column}", f"data.label_column={arguments.label_column}"]
    settings = [word for setting in (*columns, f"seed={seed}") for word in ("--set", setting)]
    textrnn("train", "classification", data, "--run", folder / "run", *settings)
    result = json.loads(textrnn("evaluate", folder / "run", "--no-baseline", "--json"))
    return float(result["accuracy"])


def suggested(arguments: argparse.Namespace, pool: Sequence[Row], folder: Path) -> list[Row]:
    """Return the rows of the pool that `suggest` chooses."""
    texts = folder / "pool.jsonl"
    by_text = {row[arguments.text_column]: row for row in pool}
    texts.write_text("".join(f"{json.dumps({arguments.text_column: text})}\n" for text in by_text))
    lines = textrnn("suggest", folder / "run", texts, "--count", arguments.step).splitlines()
    return [by_text[json.loads(line)["text"]] for line in lines]


def textrnn(*arguments: object) -> str:
    """Run a command of textrnn, and return what it prints."""
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
