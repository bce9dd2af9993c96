"""`textrnn card`: measure a run, and write its model card, RUN/README.md."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.run import CONFIG, open_run
from app.config import load_config
from app.evaluate import evaluate
from app.inspection.memory import horizon_of
from app.inspection.opened import open_to_inspect
from app.model_card.measured import Measured, read_measured, whole_split, write_measured
from app.model_card.render import write_card
from app.prediction.loading import load_predictor
from app.speed import milliseconds
from app.tasks import get_task
from app.tasks.opening import open_dataset
from data.errors import UserError
from data.prepared import Dataset

SECTION = "card."


def card(
    run: Path,
    *,
    split: str | None = None,
    with_baseline: bool = True,
    measure: bool = True,
    overrides: Sequence[str] = (),
    manual_directory: Path | None = None,
) -> Path:
    """Measure a finished run, write its card, and return the path of the card.

    What a former call has measured is not measured again, unless another split is asked for.

    Args:
        run: a run directory.
        split: of the metrics; None: the one that was measured before, else validation.
        with_baseline: also train and evaluate the baseline.
        measure: False writes what is known already; the data need not be there.
        overrides: `KEY=VALUE`, with the keys of the section card.
        manual_directory: raw files of a catalogue dataset.

    Raises:
        UserError: it is no finished run, its data is not there, or a key is another one.
    """
    manifest = open_run(run).manifest
    measured = read_measured(run, manifest)
    measured = measured.model_copy(update={"said": measured.said | _said(run, overrides)})
    before = measured.result or {}
    split = split or str(before.get("split", "validation"))
    with_baseline = with_baseline and bool(get_task(manifest.task).predictions.baseline_name)
    if measure and (before.get("split") != split or (with_baseline and "baseline" not in before)):
        measured = _measured(run, measured, split, with_baseline, manual_directory)
    write_measured(run, measured)
    return write_card(run)


def _said(run: Path, overrides: Sequence[str]) -> dict[str, str]:
    for override in overrides:
        if not override.strip().startswith(SECTION):
            raise UserError(
                f"--set {override}: a trained model takes the keys {SECTION}license and {SECTION}language; "
                "train another one to change others"
            )
    config = load_config(file=run / CONFIG, overrides=overrides, require_format=True)
    names = {override.partition("=")[0].strip().removeprefix(SECTION) for override in overrides}
    return {name: getattr(config.card, name) for name in sorted(names)}


def _measured(
    run: Path, before: Measured, split: str, with_baseline: bool, manual_directory: Path | None
) -> Measured:
    predictor = load_predictor(run)
    result = evaluate(predictor, split=split, with_baseline=with_baseline, manual_directory=manual_directory)
    dataset = open_dataset(predictor.info, None, manual_directory)
    changes: dict[str, Any] = {
        "result": whole_split(result),
        "milliseconds": milliseconds(predictor, dataset, split),
        "machine": machine(),
        "counts": label_counts(dataset),
    }
    try:
        opened = open_to_inspect(run)
        changes |= {"horizon": horizon_of(opened), "unknown": opened.unknown}
    except UserError:  # a task without inspection, or a catalogue dataset that is not prepared
        pass
    return before.model_copy(update=changes)


def machine() -> str:
    """Return this machine in a few words."""
    from models.kernels.cpus import available_cpus

    cpus = available_cpus()
    return f"{cpus} {platform.machine()} CPU{'s' if cpus > 1 else ''}"


def label_counts(dataset: Dataset) -> dict[str, int]:
    """Return the number of training examples of each label, or of tokens of each tag."""
    counts: Counter[str] = Counter()
    for batch in dataset.batches("train"):
        for name, names in dataset.names.items():
            if name in batch:
                ids = np.concatenate([np.atleast_1d(row).astype(int) for row in batch[name]])
                for own, count in zip(*np.unique(ids[ids >= 0], return_counts=True), strict=True):
                    counts[names[own]] += int(count)
    return dict(counts)
