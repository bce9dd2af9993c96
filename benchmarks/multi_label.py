"""Compare a classifier of sets of labels with one of single labels, on the same texts.

    python benchmarks/multi_label.py write train.csv test.csv banking --label-column category
    textrnn train classification banking --run runs/banking
    python benchmarks/multi_label.py score runs/banking test.csv --label-column category

`write` replaces each label by the set of its words: `card_payment_fee_charged` by card, charged, fee and
payment. No two labels may have the same words, so that a set determines its label. `score` finds the label
whose set is the most probable one by the probabilities of all words, and prints the accuracy and the macro F1
of these labels, which are those of a model that is trained on the tables themselves.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Examples = list[tuple[str, str]]
"""Texts with their labels."""


def words_of(label: str) -> tuple[str, ...]:
    """Return the words of a label: `words_of("Refund_not_showing") -> ("not", "refund", "showing")`."""
    return tuple(sorted(set(re.findall(r"[^\W_]+", label.lower()))))


def read(path: Path, text_column: str, label_column: str) -> Examples:
    """Return the examples of a table with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[text_column], row[label_column]) for row in csv.DictReader(file)]


def write(examples: Examples, path: Path) -> None:
    """Write examples with the sets of words of their labels as JSON lines."""
    sets: dict[tuple[str, ...], str] = {}
    for _, label in examples:
        if (other := sets.setdefault(words_of(label), label)) != label:
            raise SystemExit(f"{label!r} and {other!r} have the same words")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for text, label in examples:
            file.write(json.dumps({"text": text, "label": words_of(label)}) + "\n")
    print(f"{path}: {len(examples):,} examples, {len({word for own in sets for word in own}):,} words")


def most_probable(probabilities: np.ndarray, words: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return for each text the label whose words, and no others, are the most probable ones.

    Args:
        probabilities: float [texts, words].
        words: the labels of the model.
        labels: to choose from.
    """
    members = np.array([[word in words_of(label) for word in words] for label in labels], np.float64)
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    scores = np.log(p) @ members.T + np.log1p(-p) @ (1 - members).T
    return [labels[i] for i in scores.argmax(axis=1)]


def score(run: Path, examples: Examples) -> None:
    """Print how often the label that corresponds to a set is correct."""
    from sklearn.metrics import accuracy_score, f1_score

    from app.prediction.loading import load_predictor

    predictor = load_predictor(run)
    texts, truth = zip(*examples, strict=True)
    outputs = predictor.run_texts("serving_default", [text.encode() for text in texts])
    words = [word.decode() for word in outputs["classes"][0]]
    found = most_probable(outputs["probabilities"], words, sorted(set(truth)))
    targets = np.array([[word in words_of(label) for word in words] for label in truth])
    print(f"label of the most probable set: accuracy {accuracy_score(truth, found):.4f}")
    print(f"                                macro F1 {f1_score(truth, found, average='macro'):.4f}")
    print(
        f"chosen words: micro F1 {f1_score(targets, outputs['chosen'], average='micro', zero_division=0):.4f}"
    )
    print(f"              exact sets {(targets == outputs['chosen']).all(axis=1).mean():.4f}")


def main() -> None:
    """Write the data, or score a run on it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writing, scoring = commands.add_parser("write"), commands.add_parser("score")
    writing.add_argument("train", type=Path)
    writing.add_argument("test", type=Path)
    writing.add_argument("output", type=Path)
    scoring.add_argument("run", type=Path)
    scoring.add_argument("test", type=Path)
    for command in (writing, scoring):
        command.add_argument("--text-column", default="text")
        command.add_argument("--label-column", default="label")
    arguments = parser.parse_args()

    columns = arguments.text_column, arguments.label_column
    if arguments.command == "write":
        for split in ("train", "test"):
            write(read(getattr(arguments, split), *columns), arguments.output / f"{split}.jsonl")
    else:
        score(arguments.run, read(arguments.test, *columns))


if __name__ == "__main__":
    main()
