"""Texts that a network generates after each epoch of its training."""

from __future__ import annotations

import json
from pathlib import Path

from app.artifacts.files import write_text
from app.json_text import dumps

SAMPLES = "samples.jsonl"


def keep_sample(run: Path, epoch: int, text: str) -> None:
    """Write the sample of an epoch, in place of an earlier one of this or a later epoch.

    Args:
        run: a run directory.
        epoch: number of the epoch, from 1.
        text: what was generated.
    """
    kept = {own: before for own, before in read_samples(run).items() if own < epoch} | {epoch: text}
    lines = (f"{dumps({'epoch': own, 'text': sample})}\n" for own, sample in kept.items())
    write_text(run / SAMPLES, "".join(lines))


def read_samples(run: Path) -> dict[int, str]:
    """Return the samples of a run by epoch; empty if it has none."""
    path = run / SAMPLES
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {own["epoch"]: own["text"] for own in map(json.loads, lines)}
