"""Tables of results on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from app.terminal.console import make_console
from app.terminal.printable import one_line, short
from data.check_report import SEQUENCES, Report
from data.findings import PLACES_SHOWN, Finding

MOST_CLASSES = 20
MOST_CONFUSED = 10
MOST_TRIALS = 20
MOST_RATES = 20
WIDEST = 1000


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _print_whole(console: Console, table: Table) -> None:
    """Print a table; a line that is longer than those of the terminal is better than one that is cut."""
    console.width = max(console.width, WIDEST)
    console.print(table)


def show_evaluation(result: dict[str, Any]) -> None:
    """Print the result of `evaluate`: metrics next to those of the baseline, classes, and confusions."""
    console = make_console()
    console.print(
        f"{result['task']} · {result['dataset']} · {result['split']} · {result['examples']:,} examples\n"
    )
    intervals = result.get("intervals", {})
    baseline = result.get("baseline", {})
    others = {f"{name} alone": own for name, own in result.get("branches", {}).items()}
    others |= {baseline["name"]: baseline} if baseline else {}
    metrics = _table("", "model", *others, *(["95 % interval of the model"] if intervals else []))
    for name, value in result.items():
        if isinstance(value, float):
            compared = [f"{own[name]:.4f}" if name in own else "–" for own in others.values()]
            interval = [_interval(intervals[name])] if name in intervals else []
            metrics.add_row(name, f"{value:.4f}", *compared, *interval)
    _print_whole(console, metrics)
    _show_comparison(console, result, result)
    for name, signature in result.get("signatures", {}).items():
        console.print(f"{name}: {signature}", soft_wrap=True)
    if "error" in baseline:
        console.print(f"no baseline: {baseline['error']}")
    if raw := result.get("raw_text"):
        console.print("\non raw text, where the tokenizer must find the tokens")
        scores = _table("", "model")
        for name, value in raw.items():
            scores.add_row(name, value if isinstance(value, str) else f"{value:.4f}")
        console.print(scores)
    if unseen := result.get("unseen_labels"):
        shown = ", ".join(f"{label} ({count:,})" for label, count in list(unseen.items())[:MOST_CLASSES])
        console.print(f"\nlabels that the model does not know: {shown}{_limited(len(unseen), MOST_CLASSES)}")
    for key, heading in (("per_class", "classes"), ("per_type", "span types")):
        if per_class := result.get(key):
            worst = sorted(per_class.items(), key=lambda item: item[1]["f1"])[:MOST_CLASSES]
            console.print(f"\n{heading}, lowest F1 first{_limited(len(per_class), MOST_CLASSES)}")
            more = ["threshold"] if any("threshold" in own for _, own in worst) else []
            classes = _table("", "precision", "recall", "f1", "support", *more)
            for label, own in worst:
                values = (f"{own[key]:.4f}" for key in ("precision", "recall", "f1"))
                thresholds = (f"{own[name]:.4f}" if name in own else "–" for name in more)
                classes.add_row(label, *values, str(own["support"]), *thresholds)
            console.print(classes)
    if confusion := result.get("confusion"):
        _show_confused(console, confusion, list(result["per_class"]))


def show_runs(result: dict[str, Any]) -> None:
    """Print the result of `evaluate` of several runs: the metrics of each, their mean, and the baseline's."""
    console = make_console()
    runs, means, errors = result["runs"], result["mean"], result["standard_error"]
    console.print(
        f"{result['task']} · {result['dataset']} · {result['split']} · {result['examples']:,} examples · "
        f"{len(runs)} runs\n"
    )
    table = _table("", "seed", *means)
    for run in runs:
        table.add_row(run["run"], str(run["seed"]), *(f"{run[name]:.4f}" for name in means))
    table.add_row("mean", "", *(f"{value:.4f}" for value in means.values()))
    table.add_row("standard error", "", *(f"{value:.4f}" for value in errors.values()))
    if (baseline := result.get("baseline")) and "error" not in baseline:
        own = (f"{baseline[name]:.4f}" if name in baseline else "–" for name in means)
        table.add_row(baseline["name"], "", *own)
    _print_whole(console, table)
    if baseline and "error" in baseline:
        console.print(f"no baseline: {baseline['error']}")
    _show_comparison(console, result, means)


def _known(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def show_combinations(table: dict[str, Any]) -> None:
    """Print the result of `compare`: a row for each combination of values."""
    console = make_console()
    console.print(f"{table['task']} · {table['data']} · {table['split']}\n")
    keys, metric = table["keys"], table["metric"]
    measured = ("training, s", "parameters", "one text, ms", "gradient, tokens", "context, tokens")
    shown = _table(*keys, "seeds", metric, "standard error", *measured)
    for row in table["rows"]:
        shown.add_row(
            *(row["values"][key] for key in keys),
            str(len(row["runs"])),
            f"{row['mean']:.4f}",
            _known(row["standard_error"], ".4f"),
            _known(row["seconds"], ",.0f"),
            f"{row['parameters']:,}",
            f"{row['milliseconds']:.2f}",
            _known(row["horizon"], ".1f"),
            _known(row["context"], ".0f"),
        )
    _print_whole(console, shown)


def show_trials(table: dict[str, Any]) -> None:
    """Print the result of `tune`: the trials, the best one first, and how it compares with the first one."""
    console = make_console()
    rows, metric, keys = table["rows"], table["metric"], table["keys"]
    console.print(f"{table['task']} · {table['data']} · validation · {len(rows)} trials\n")
    shown = _table("trial", metric, "epochs", "training, s", "", *keys)
    by_number = {row["trial"]: row for row in rows}
    best, first = by_number[table["best"]], by_number[min(by_number)]
    # Values of trials that were stopped early are those of other epochs: they come last.
    groups: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for row in rows:
        groups[row["state"] in ("finished", "unfinished")].append(row)
    descending = table["higher_is_better"]
    for own in groups.values():
        own.sort(key=lambda row: row["value"] or 0, reverse=descending)
    found = [*groups[True], *groups[False]]
    for row in found[:MOST_TRIALS]:
        values = [row["values"][key] for key in keys]
        shown.add_row(
            str(row["trial"]),
            _known(row["value"], ".4f"),
            str(row["epochs"]),
            f"{row['seconds']:,.0f}",
            row["state"],
            *map(short, values),
        )
    _print_whole(console, shown)
    console.print(_limited(len(found), MOST_TRIALS).strip())
    if first["value"] is not None:
        console.print(
            f"{metric}: {best['value']:.4f} of trial {best['trial']}, {first['value']:.4f} of the first one, "
            "which has the configuration as it is",
            soft_wrap=True,
        )


def show_rates(found: dict[str, Any]) -> None:
    """Print the result of `tune lr`: some of the steps, and the suggested learning rate."""
    console = make_console()
    rows = found["rows"]
    console.print(f"{found['task']} · {found['data']} · {len(rows)} steps\n")
    shown = _table("learning rate", "loss", "smoothed loss")
    every = max(len(rows) // MOST_RATES, 1)
    for row in rows[::every]:
        shown.add_row(f"{row['learning_rate']:.2e}", f"{row['loss']:.4f}", f"{row['smoothed']:.4f}")
    console.print(shown)
    console.print(f"\nsuggested: --set training.learning_rate={found['suggested']:.2g}", soft_wrap=True)


def _show_comparison(console: Console, result: dict[str, Any], values: dict[str, float]) -> None:
    """Print a sentence for each metric in which a model, or the mean of several, is compared."""
    comparison = result.get("comparison", {})
    if comparison:
        console.print()
    baseline = result.get("baseline", {})
    for name, own in comparison.items():
        better_or_worse = "better" if own["difference"] > 0 else "worse"
        verdict = better_or_worse if own["different"] else "no difference"
        console.print(
            f"{name}: {values[name]:.4f} against {baseline[name]:.4f} of the {baseline['name']}: {verdict} "
            f"(95 % interval of the difference {_interval(own['interval'], signed=True)})",
            soft_wrap=True,
        )


def _interval(limits: Sequence[float], *, signed: bool = False) -> str:
    return " to ".join(f"{limit:+.4f}" if signed else f"{limit:.4f}" for limit in limits)


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


def show_information(found: dict[str, Any]) -> None:
    """Print the result of `info`."""
    cpus, kernels = found["cpus"], found["kernels"]
    lines = {
        **found["versions"],
        "platform": found["platform"],
        "CPUs": f"{cpus['available']} of {cpus['of_machine']}",
        "devices": ", ".join(found["devices"]),
        "threads": ", ".join(f"{name} {number or 'automatic'}" for name, number in found["threads"].items()),
        "kernels": f"{kernels['name']}: {kernels['reason']}",
        **({"library": kernels["library"]} if kernels["library"] else {}),
    }
    console = make_console()
    width = max(map(len, lines))
    for name, value in lines.items():
        console.print(f"{name:{width}}  {value}")


def show_check(report: Report, *, all_places: bool = False) -> None:
    """Print a report of the data check: layout, a table of the splits, the classes, warnings and errors.

    Args:
        report: of the check.
        all_places: print all classes and all places of each finding, a line each, not only the first ones.
    """
    console = make_console()
    for heading, sentences in (("read", report.layout), ("not read", report.ignored)):
        if sentences:
            console.print(heading)
            for sentence in sentences:
                console.print(f"  - {one_line(sentence)}")
            console.print()
    console.print(_splits(report))
    _show_classes(console, report, all_places=all_places)
    for heading, findings in (("warnings", report.warnings_found), ("errors", report.problems_found)):
        if findings:
            console.print(f"\n{heading}")
            for finding in findings:
                _show_finding(console, finding, all_places=all_places)
    if not report.problems_found:
        console.print("\nno errors")
    findings = (*report.warnings_found, *report.problems_found)
    if not all_places and any(len(finding.places) > PLACES_SHOWN for finding in findings):
        console.print("\n--all lists all places")


def _splits(report: Report) -> Table:
    """Return a table with a column for each split, and a row for each statistic that is not 0 everywhere."""
    table = _table("", *report.splits)
    splits = report.splits.values()

    def add(heading: str, values: Iterable[int | None], *, always: bool = True) -> None:
        numbers = list(values)
        if always or any(numbers):
            table.add_row(heading, *("–" if number is None else f"{number:,}" for number in numbers))

    add("examples", (split.rows for split in splits))
    add("malformed rows", (report.malformed.get(name, 0) for name in report.splits))
    fields = list(dict.fromkeys(name for split in splits for name in split.fields))
    for name in fields:
        own = [split.fields[name] for split in splits]
        of = "" if len(fields) == 1 else f"{SEQUENCES.get(name, name)}: "
        add(f"{of}empty" if of else "empty texts", (field.empty.total for field in own))
        for percentile in ("p50", "p90", "p99", "max"):
            add(
                f"{of}tokens {percentile}",
                (getattr(field.lengths, percentile) if field.lengths else None for field in own),
            )
        shares = (field.unknown_share for field in own)
        table.add_row(
            f"{of}tokens out of vocabulary", *("–" if share is None else f"{share:.1%}" for share in shares)
        )
    add("duplicates", (split.duplicates.total for split in splits))
    add("duplicates in all fields", (split.duplicate_rows for split in splits), always=False)
    add("conflicts", (split.conflicts.total for split in splits))
    add("not translated", (split.untranslated.total for split in splits), always=False)
    add("unusual lengths", (split.odd_lengths.total for split in splits), always=False)
    return table


def _show_classes(console: Console, report: Report, *, all_places: bool) -> None:
    splits = report.splits.values()
    labels = sorted({label for split in splits for label in split.labels})
    if not labels:
        return
    train = report.splits["train"].labels
    labels.sort(key=lambda label: (-train.get(label, 0), label))
    shown = labels if all_places else [*labels[:MOST_CLASSES], *labels[MOST_CLASSES:][-1:]]
    console.print(f"\nclasses, most frequent first, then the rarest{_limited(len(labels), len(shown))}")
    classes = _table("", *report.splits)
    for label in shown:
        classes.add_row(one_line(label), *(f"{split.labels.get(label, 0):,}" for split in splits))
    console.print(classes)


def _show_finding(console: Console, finding: Finding, *, all_places: bool) -> None:
    if not all_places or len(finding.places) <= 1:
        console.print(f"  - {one_line(finding.sentence())}")
        return
    console.print(f"  - {one_line(finding.sentence(0))}")
    for place in finding.places:
        console.print(f"      {one_line(place)}")
    if (more := finding.total - len(finding.places)) > 0:
        console.print(f"      and {more:,} more")
