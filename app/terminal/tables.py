"""Tables of results on standard output."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from app.terminal.console import make_console
from data.check_report import Report

MOST_CLASSES = 20
MOST_CONFUSED = 10


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def show_evaluation(result: dict[str, Any]) -> None:
    """Print the result of `evaluate`: metrics next to those of the baseline, classes, and confusions."""
    console = make_console()
    console.print(
        f"{result['task']} · {result['dataset']} · {result['split']} · {result['examples']:,} examples\n"
    )
    baseline = result.get("baseline", {})
    metrics = _table("", "model", baseline["name"]) if baseline else _table("", "model")
    for name, value in result.items():
        if isinstance(value, float):
            other = baseline.get(name)
            compared = [f"{other:.4f}" if other is not None else "–"] if baseline else []
            metrics.add_row(name, f"{value:.4f}", *compared)
    console.print(metrics)
    if "error" in baseline:
        console.print(f"no baseline: {baseline['error']}")
    if raw := result.get("raw_text"):
        console.print("\non raw text, where the tokenizer must find the tokens")
        scores = _table("", "model")
        for name, value in raw.items():
            scores.add_row(name, f"{value:.4f}")
        console.print(scores)
    for key, heading in (("per_class", "classes"), ("per_type", "span types")):
        if per_class := result.get(key):
            worst = sorted(per_class.items(), key=lambda item: item[1]["f1"])[:MOST_CLASSES]
            console.print(f"\n{heading}, lowest F1 first{_limited(len(per_class), MOST_CLASSES)}")
            classes = _table("", "precision", "recall", "f1", "support")
            for label, own in worst:
                values = (f"{own[key]:.4f}" for key in ("precision", "recall", "f1"))
                classes.add_row(label, *values, str(own["support"]))
            console.print(classes)
    if confusion := result.get("confusion"):
        _show_confused(console, confusion, list(result["per_class"]))


def _limited(present: int, shown: int) -> str:
    return f" ({shown} of {present})" if present > shown else ""


def _show_confused(console: Console, confusion: list[list[int]], labels: list[str]) -> None:
    pairs = [
        (count, true, predicted)
        for true, row in zip(labels, confusion, strict=True)
        for predicted, count in zip(labels, row, strict=True)
        if true != predicted and count
    ]
    pairs.sort(key=lambda pair: -pair[0])
    if pairs:
        console.print(f"\nmost frequent confusions{_limited(len(pairs), MOST_CONFUSED)}")
        table = _table("true", "predicted", "count")
        for count, true, predicted in pairs[:MOST_CONFUSED]:
            table.add_row(true, predicted, str(count))
        console.print(table)


def show_check(report: Report) -> None:
    """Print a report of the data check: a table of the splits, the classes, warnings and errors."""
    console = make_console()
    table = _table("", *report.splits)
    splits = report.splits.values()
    headings = {"rows": "examples", "malformed": "malformed rows", "empty": "empty texts"}
    for name in ("rows", "malformed", "empty", "duplicates", "conflicts"):
        table.add_row(headings.get(name, name), *(f"{getattr(split, name):,}" for split in splits))
    for name in ("p50", "p90", "p99", "max"):
        lengths = (f"{getattr(split.lengths, name):,}" if split.lengths else "–" for split in splits)
        table.add_row(f"tokens {name}", *lengths)
    shares = (report.unknown_shares.get(name) for name in report.splits)
    table.add_row("tokens out of vocabulary", *("–" if share is None else f"{share:.1%}" for share in shares))
    console.print(table)
    labels = sorted({label for split in splits for label in split.labels})
    if labels:
        train = report.splits["train"].labels
        labels.sort(key=lambda label: (-train.get(label, 0), label))
        shown = [*labels[:MOST_CLASSES], *labels[MOST_CLASSES:][-1:]]
        console.print(f"\nclasses, most frequent first, then the rarest{_limited(len(labels), len(shown))}")
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
