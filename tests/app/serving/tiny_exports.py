"""A tiny export of each task, made in a few seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from trained import export_quickly

from app.config import load_config
from app.train import train

ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [
        {"text": "a good film, fine.", "label": "positive"},
        {"text": "a bad film, dull.", "label": "negative"},
    ],
    "tagging": [
        {
            "tokens": ["play", "Nina", "Simone", "now"],
            "tags": ["O", "B-artist", "I-artist", "B-time"],
            "label": "Play",
        },
        {"tokens": ["rain", "now"], "tags": ["O", "B-time"], "label": "Weather"},
    ],
    "translation": [{"source": "one two.", "target": "zwei eins."}, {"source": "three.", "target": "drei."}],
    "generation": [
        {"text": "to be or not to be", "label": "play"},
        {"text": "that is the question", "label": "sonnet"},
    ],
}
OPTIONS = {
    "classification": (),
    "tagging": (
        "model.character_features=none",
        "model.layers=1",
        "training.epochs=15",
        "training.learning_rate=0.1",
    ),
    "translation": (
        "text.tokens=subword",
        "text.vocabulary_size=24",
        "decoding.beam=2",
        "training.epochs=15",
        "training.learning_rate=0.1",
    ),
    "generation": ("text.tokens=char", "data.label_column=label"),
}
TINY = (
    "training.epochs=1",
    "training.batch_size=16",
    "model.units=8",
    "model.embedding_size=8",
    "model.dropout=0",
)


def write_exports(folder: Path) -> None:
    """Write the model directory of each task, `exports/TASK`."""
    tf.config.run_functions_eagerly(True)  # no graph is needed for a batch
    for task, rows in ROWS.items():
        for split in ("train", "validation"):
            path = folder / "data" / task / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows * 8))
        config = load_config(task, overrides=[*TINY, *OPTIONS[task]])
        assert train(task, str(path.parent), config, run=folder / "runs" / task).finished
    tf.config.run_functions_eagerly(False)
    for task in ROWS:
        export_quickly(folder / "runs" / task, output=folder / "exports" / task)
