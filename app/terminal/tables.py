"""Results as tables for a person, on stdout."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from data.doctor import Report

MOST_CLASSES = 20
MOST_CONFUSED = 10


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def show_evaluation(result: dict[str, Any]) -> None:
    """Prints what `evaluate` found: the figures beside the baseline's, classes, and confusions."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{result['task']} · {result['dataset']} · {result['split']} · {result['examples']:,} rows\n"
    )
    baseline = result.get("baseline", {})
    figures = _table("", "model", baseline["name"]) if baseline else _table("", "model")
    for name, value in result.items():
        if isinstance(value, float):
            other = baseline.get(name)
            beside = [f"{other:.4f}" if other is not None else "–"] if baseline else []
            figures.add_row(name, f"{value:.4f}", *beside)
    console.print(figures)
    if "error" in baseline:
        console.print(f"no baseline: {baseline['error']}")
    if raw := result.get("raw_text"):
        console.print("\non raw text, where tokens must be found first")
        found = _table("", "model")
        for name, value in raw.items():
            found.add_row(name, f"{value:.4f}")
        console.print(found)
    for key, heading in (("per_class", "classes"), ("per_type", "types of spans")):
        if per_class := result.get(key):
            worst = sorted(per_class.items(), key=lambda item: item[1]["f1"])[:MOST_CLASSES]
            console.print(f"\n{heading}, the lowest F1 first{_cut(len(per_class), MOST_CLASSES)}")
            classes = _table("", "precision", "recall", "f1", "support")
            for label, row in worst:
                scores = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
                classes.add_row(label, *scores, str(row["support"]))
            console.print(classes)
    if confusion := result.get("confusion"):
        _show_confused(console, confusion, list(result["per_class"]))


def _cut(present: int, shown: int) -> str:
    return f" ({shown} of {present})" if present > shown else ""


def _show_confused(console: Console, confusion: list[list[int]], labels: list[str]) -> None:
    pairs = [
        (count, truth, answer)
        for truth, row in zip(labels, confusion, strict=True)
        for answer, count in zip(labels, row, strict=True)
        if truth != answer and count
    ]
    pairs.sort(key=lambda pair: -pair[0])
    if pairs:
        console.print(f"\nmost often confused{_cut(len(pairs), MOST_CONFUSED)}")
        table = _table("truth", "answer", "times")
        for count, truth, answer in pairs[:MOST_CONFUSED]:
            table.add_row(truth, answer, str(count))
        console.print(table)


def show_check(report: Report) -> None:
    """Print a report of the data check: a table of the splits, the classes, warnings and errors."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    table = _table("", *report.splits)
    splits = report.splits.values()
    for name in ("rows", "malformed", "empty", "duplicates", "conflicts"):
        table.add_row(name, *(f"{getattr(split, name):,}" for split in splits))
    for name in ("p50", "p90", "p99", "max"):
        row = (f"{getattr(split.lengths, name):,}" if split.lengths else "–" for split in splits)
        table.add_row(f"tokens {name}", *row)
    shares = (report.unknown_shares.get(name) for name in report.splits)
    table.add_row("tokens unknown", *("–" if share is None else f"{share:.1%}" for share in shares))
    console.print(table)
    labels = sorted({label for split in splits for label in split.labels})
    if labels:
        train = report.splits["train"].labels
        labels.sort(key=lambda label: (-train.get(label, 0), label))
        shown = [*labels[:MOST_CLASSES], *labels[MOST_CLASSES:][-1:]]
        console.print(f"\nclasses, the most frequent first, then the rarest{_cut(len(labels), len(shown))}")
        classes = _table("", *report.splits)
        for label in shown:
            classes.add_row(label, *(f"{split.labels.get(label, 0):,}" for split in splits))
        console.print(classes)
    for heading, sentences in (("warnings", report.warnings), ("errors", report.problems)):
        if sentences:
            console.print(f"\n{heading}")
            for sentence in sentences:
                console.print(f"  - {sentence}")
    if not report.problems:
        console.print("\nno errors")
