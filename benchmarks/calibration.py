"""Calibration of classifiers on the test split, with the chosen weights of their logits and without.

    python benchmarks/calibration.py runs/banking77 runs/imdb runs/snips

Without: the logits count as they are, those of a model with n-grams as the sum of both branches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from app.artifacts.run import open_run
from app.evaluate import evaluate_dataset
from app.prediction.loading import build_served, predictor_of
from app.tasks.opening import open_dataset

WEIGHTS = ("label_scale", "branch_weights")
"""Of a tagger with labels, of a classifier."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    figures = ("accuracy", "calibration error", "Brier score")
    heads = ["run", *figures, *(f"uncalibrated: {name}" for name in figures)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for run in parser.parse_args().runs:
        cells = [figure for calibrated in (True, False) for figure in measured(run, calibrated=calibrated)]
        print(f"| {run.name} | {' | '.join(cells)} |", flush=True)


def measured(run: Path, *, calibrated: bool) -> list[str]:
    """Return accuracy, expected calibration error and Brier score on the test split."""
    opened = open_run(run)
    served = build_served(opened)
    scale = next(getattr(served.model, name) for name in WEIGHTS if hasattr(served.model, name))
    if not calibrated:
        scale.assign(np.ones(scale.shape, np.float32))
    predictor = predictor_of(opened, served)
    dataset = open_dataset(predictor.info, None, None)
    result = evaluate_dataset(predictor, dataset, "test", with_baseline=False)
    prefix = "label_" if "label_accuracy" in result else ""
    names = (f"{prefix}accuracy", f"{prefix}expected_calibration_error", f"{prefix}brier_score")
    return [f"{result[name]:.4f}" if name in result else "–" for name in names]


if __name__ == "__main__":
    main()
