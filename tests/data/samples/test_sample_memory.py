from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest

from data.samples import SAMPLES, memory
from data.samples.memory import COLOURS, DISTANCES, MOST_BEFORE

SPLITS = {"train": 2400, "validation": 400, "test": 400}


def test_memories_are_registered_samples() -> None:
    """`sample:memory` and one sample of each distance are found by their names."""
    assert SAMPLES["memory"] is memory
    for distance in DISTANCES:
        assert SAMPLES[f"memory-{distance}"](0) == memory(0, [distance])


@pytest.mark.parametrize("distances", [DISTANCES, (20,)], ids=["all", "one"])
def test_the_label_stands_before_the_end(distances: tuple[int, ...]) -> None:
    """Each text has one colour, its label, so many words before its end; all kinds occur equally often."""
    splits = memory(0, distances)

    assert {split: len(rows) for split, rows in splits.items()} == SPLITS
    for split, rows in splits.items():
        found: Counter[tuple[str, int]] = Counter()
        for row in rows:
            words = str(row["text"]).split()
            (place,) = (i for i, word in enumerate(words) if word in COLOURS)
            assert words[place] == row["label"]
            assert place <= MOST_BEFORE
            found[words[place], len(words) - 1 - place] += 1
        kinds = len(COLOURS) * len(distances)
        assert found == {(c, d): SPLITS[split] // kinds for c in COLOURS for d in distances}


def test_examples_are_the_same_on_every_machine() -> None:
    """A change to the generator changes this hash, and the results in the documentation."""
    content = json.dumps(memory(0)).encode()

    assert hashlib.sha256(content).hexdigest() == (
        "07c30ecabee5d805fcabc841b0f089b62170229cb0e99bce97977be30818e7e7"
    )
    assert memory(1) != memory(0)
