"""Labels of validation texts that no training text has: the model reads such texts without a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifacts.preprocessing import Preprocessing
from app.config import load_config
from app.tasks import get_task
from app.tasks.generation.facts import GenerationFacts
from data.encoding import Encoded, EncodedSplit, Sequences
from data.formats import CONTINUES

TRAIN = [4, 2, 4, 2]
"""Labels of the training texts; 4 is the second one of the model."""


def split(folder: Path, name: str, labels: list[int]) -> EncodedSplit:
    """Return texts of two tokens, each with a label of the dataset."""
    path = folder / name
    np.full(2 * len(labels), 3, np.uint16).tofile(path)
    tokens = Sequences(path, np.dtype(np.uint16), np.full(len(labels), 2))
    columns = {CONTINUES: np.zeros(len(labels), bool), "label": np.array(labels, np.int32)}
    return EncodedSplit({"tokens": tokens}, columns)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([4, 2], {0, 1}), ([0, 9], {2}), ([2, 3], {0, 2}), ([-1, 4], {1, 2})],
)
def test_no_label(tmp_path: Path, labels: list[int], expected: set[int]) -> None:
    """The id after those of the model's labels stands for no label."""
    encoded = Encoded(
        {},
        {},
        {"train": split(tmp_path, "train", TRAIN), "validation": split(tmp_path, "validation", labels)},
    )
    preprocessing: Any = Preprocessing(
        {"vocabulary": [b"", b"[UNK]"], "labels": [b"play", b"sonnet"]}, GenerationFacts(documents_end=True)
    )
    sizes = ["training.batch_size=2", "training.sequence_length=2"]
    config = load_config("generation", overrides=sizes)
    batches = get_task("generation").examples.batches(encoded, "validation", preprocessing, config)

    found = {int(i) for entry in batches.whole() for i in np.unique(batches.batch(entry).arrays["labels"])}
    assert found == expected
