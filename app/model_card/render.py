"""From what a run has stored to the text of its card."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from app.artifacts.files import CARD, write_text
from app.artifacts.manifests import RunManifest
from app.artifacts.preprocessing import read_preprocessing
from app.artifacts.run import CONFIG, METRICS, MODEL, read_run_manifest
from app.config import TaskConfig, load_config
from app.json_text import dumps
from app.metrics import RECURRENT_LOSS
from app.model_card.licenses import IDENTIFIERS
from app.model_card.measured import Measured, read_measured, with_said
from app.tasks import get_task
from app.tasks.card import TaskCard

KEEP = "<!-- Text after this line is kept when the card is written again. -->"
CALIBRATION = {
    "expected_calibration_error": "expected calibration error",
    "brier_score": "Brier score",
}
"""Metrics of `evaluate` that say how true probabilities are."""
NOT_METRICS = ("threshold", RECURRENT_LOSS.name)
HUB_METRICS = ("f1", "accuracy")
"""Types of metrics of hubs, of which the names of our metrics are special cases, such as macro_f1."""
MOST_LABELS = 100
RARE = 10
"""A label with fewer training examples is rare."""
MOST_RARE = 20
LEAST_OF_SCRIPT = 0.01
"""Share of the letters of the vocabulary that a script must have to be named."""


@dataclass(frozen=True)
class Export:
    """The export that a card belongs to."""

    name: str
    version: int
    size: int
    """Bytes."""


def write_card(run: Path) -> Path:
    """Write the card of a finished run, without measuring anything, and return its path.

    Text after the line `KEEP` of an earlier card is kept.

    Raises:
        UserError: it is no run.
    """
    write_text(run / CARD, card_text(run))
    return run / CARD


def card_text(run: Path, export: Export | None = None) -> str:
    """Return the card of a finished run, or of its export.

    Args:
        run: its directory.
        export: that the card is for; None: the run itself.

    Raises:
        UserError: it is no run.
    """
    import jinja2

    manifest = read_run_manifest(run)
    measured = read_measured(run, manifest)
    config = with_said(load_config(file=run / CONFIG, require_format=True), measured)
    template = (files("app.model_card") / "card.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(  # noqa: S701 (it writes Markdown; values are escaped as such)
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"yaml": _yaml, "escaped": escaped, "number": number}
    facts = _facts(run, manifest, config, measured, export)
    text = re.sub(r"\n{3,}", "\n\n", environment.from_string(template).render(facts))
    return f"{text}\n{KEEP}\n{_kept(run)}"


def escaped(text: object) -> str:
    """Return a text in one line, without anything that Markdown or HTML would read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#$~])", r"\\\1", " ".join(str(text).split()))


def number(value: float) -> str:
    """Return a number with four significant digits, or without a fraction: `0.9123`, `21.34`, `1,204`."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def _yaml(value: object) -> str:
    """Return a value as JSON, which is YAML."""
    return dumps(value, ensure_ascii=False)


def _kept(run: Path) -> str:
    try:
        before = (run / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    _, _, kept = before.partition(KEEP)
    return kept.lstrip("\n")


def _facts(
    run: Path, manifest: RunManifest, config: TaskConfig, measured: Measured, export: Export | None
) -> dict[str, Any]:
    task = get_task(manifest.task)
    preprocessing = read_preprocessing(run, task.facts)
    card: TaskCard = task.predictions.card(preprocessing, config)
    name = export.name if export else run.resolve().name
    labels = {
        kind: [label.decode(errors="replace") for label in preprocessing.vocabularies[kind]]
        for kind in ("labels", "tags")
        if kind in preprocessing.vocabularies
    }
    result = measured.result or _of_training(run, config)
    named = {metric.name: metric.title for metric in task.training.metrics(preprocessing)}
    license_ = config.card.license
    known = license_.lower() in IDENTIFIERS
    lengths = config.tokenizing()
    return {
        "name": name,
        "task": manifest.task,
        "card": card,
        "manifest": manifest,
        "version": manifest.versions,
        "config": config,
        "layout": [_without_path(sentence, manifest.data) for sentence in manifest.layout],
        "labels": labels,
        "most_labels": MOST_LABELS,
        "license": license_,
        "hub_license": license_.lower() if known else "other",
        "languages": [code.strip() for code in config.card.language.split(",") if code.strip()],
        "tags": [manifest.task, config.model.cell, "rnn", "tensorflow", "text"],
        "measured": measured,
        "result": result,
        "epoch": result.get("epoch"),
        "baseline": {"name": "", "error": "", **result.get("baseline", {})},
        "rows": list(_rows(result, named)),
        "calibration": [(CALIBRATION[n], result[n]) for n in CALIBRATION if n in result],
        "hub_metrics": [
            {"type": _hub_type(metric), "name": named[metric], "value": result[metric]}
            for metric in named
            if isinstance(result.get(metric), float)
        ],
        "comparison": list(_comparison(result, named)),
        "answered": task.predictions.answered,
        "size": export.size if export else (run / MODEL).stat().st_size,
        "export": export,
        "max_length": lengths["max_length"],
        "truncate": lengths["truncate"],
        "scripts": list(scripts(preprocessing.vocabulary)) if lengths["tokens"] != "byte" else [],
        "rare": _rare(measured.counts),
        "rarely": RARE,
        "command": card.command.replace("MODEL", "."),
        "saved_model": "." if export else f"exports/{name}/1",
        "arguments": ", ".join(f"{n}=tf.constant([{_python(v)}])" for n, v in card.inputs.items()),
        "request": dumps({"instances": [dict(card.inputs)]}),
    }


def _python(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _of_training(run: Path, config: TaskConfig) -> dict[str, Any]:
    """Return the validation metrics of the epoch whose weights were kept, as `evaluate` names them."""
    lines = [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]
    best = [line for line in lines if line.get("best")]
    if not best:
        return {"split": "validation"}
    prefix = "validation_"
    metrics = {n.removeprefix(prefix): value for n, value in best[-1].items() if n.startswith(prefix)}
    return {"split": "validation", "epoch": best[-1]["epoch"], **metrics}


def _rows(result: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each metric: its name, its value, its interval, and that of the baseline."""
    intervals, baseline = result.get("intervals", {}), result.get("baseline", {})
    for name, value in result.items():
        if not isinstance(value, float) or name in CALIBRATION or name in NOT_METRICS:
            continue
        yield (
            titles.get(name, name.replace("_", " ")),
            number(value),
            " to ".join(number(limit) for limit in intervals.get(name, ())),
            number(baseline[name]) if isinstance(baseline.get(name), float) else "",
        )


def _comparison(result: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[str]:
    for name, own in result.get("comparison", {}).items():
        title = titles.get(name, name.replace("_", " "))
        low, high = own["interval"]
        verdict = "differs" if own["different"] else "does not differ significantly"
        yield (
            f"In {title} the model {verdict} from the {result['baseline']['name']}: by "
            f"{own['difference']:+.4g}, 95 % interval {low:+.4g} to {high:+.4g}."
        )


def _hub_type(metric: str) -> str:
    return next((kind for kind in HUB_METRICS if metric.endswith(kind)), metric)


def _rare(counts: Mapping[str, int]) -> str:
    rare = sorted((count, label) for label, count in counts.items() if count < RARE)
    shown = ", ".join(f"{escaped(label)} ({count})" for count, label in rare[:MOST_RARE])
    return shown + (f" and {len(rare) - MOST_RARE} more" if len(rare) > MOST_RARE else "")


def _without_path(sentence: str, data: str | None) -> str:
    """Return a sentence with the name of a file or folder in place of its path, which holds here only."""
    return sentence.replace(data, Path(data).name) if data and data.startswith("/") else sentence


def scripts(tokens: Iterable[bytes]) -> Iterator[str]:
    """Yield the scripts of the letters of a vocabulary, the most frequent first: `Latin`, `Greek`.

    The script of a letter is the first word of its name in Unicode.
    """
    letters = Counter(letter for token in tokens for letter in token.decode(errors="ignore"))
    found: Counter[str] = Counter()
    for letter, count in letters.items():
        if letter.isalpha():
            found[unicodedata.name(letter, "unnamed").split()[0].capitalize()] += count
    total = sum(found.values())
    for script, count in found.most_common():
        if count >= LEAST_OF_SCRIPT * total:
            yield script.replace("Cjk", "Chinese characters")
