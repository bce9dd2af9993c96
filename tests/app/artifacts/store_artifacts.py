"""Write a tiny run and export of each task, which later versions of the program must be able to read.

Run this program once for each new format of runs or exports, and keep the archives of the older formats:

    python tests/app/artifacts/store_artifacts.py
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import textrnn

STORED = Path(__file__).parent / "stored"
FORMAT = 1
TINY = {
    "model.units": 4,
    "model.embedding_size": 4,
    "text.vocabulary_size": 60,
    "training.epochs": 1,
    "training.steps_per_checkpoint": 0,
}
TASKS = {
    "classification": "sample:reviews",
    "tagging": "sample:tags",
    "generation": "sample:text",
    "translation": "sample:pairs",
}
TEXTS = ["The soup is dull, but the bread is very charming.", "Play a song by Anna.", "", "two small dogs"]


def store(task: str, folder: Path) -> None:
    """Train and export a tiny model, and write them to an archive with predictions for `TEXTS`."""
    trained = textrnn.train(task, TASKS[task], run=folder / "run", overrides=TINY, report=False)
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(trained.path / name, ignore_errors=True)
    textrnn.export(trained.path, output=folder / "export")
    expected = {"texts": TEXTS, "predictions": textrnn.load(folder / "run").predict(TEXTS)}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))
    with tarfile.open(STORED / f"{task}-{FORMAT}.tar.xz", "w:xz") as archive:
        for name in ("run", "export", "expected.json"):
            archive.add(folder / name, name)


if __name__ == "__main__":
    STORED.mkdir(exist_ok=True)
    for task in TASKS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder  # of prepared datasets
            store(task, Path(folder))
