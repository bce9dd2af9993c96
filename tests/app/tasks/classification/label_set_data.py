"""Texts with any number of labels, each of which a word decides."""

from __future__ import annotations

import random
from typing import Any

from trained import PLAIN

WORDS = {
    "food": ("soup", "bread", "fish"),
    "music": ("song", "band", "drum"),
    "rare": ("zebra",),
    "sport": ("ball", "goal", "team"),
}
OTHERS = ("the", "a", "of", "and", "it")
SIZES = {"train": 160, "validation": 40, "test": 40}
OPTIONS = (
    *PLAIN,
    "model.embedding_size=8",
    "training.learning_rate=0.1",
    "training.epochs=10",
    "training.batch_size=16",
)


def label_set_rows(split: str, size: int) -> list[dict[str, Any]]:
    """Return examples; the validation and the test split have a label each that train has not."""
    generator = random.Random(split)
    rows = []
    for number in range(size):
        shares = {label: 0.05 if label == "rare" else 0.4 for label in WORDS}
        labels = [label for label, share in shares.items() if generator.random() < share]
        words = [generator.choice(WORDS[label]) for label in labels] + generator.choices(OTHERS, k=3)
        generator.shuffle(words)
        rows.append({"text": f"{' '.join(words)} {split} {number}", "label": labels})
    if split != "train":
        rows[1]["label"].append(f"unseen in {split}")
        rows[2]["label"].append(f"unseen in {split}")
    return rows
