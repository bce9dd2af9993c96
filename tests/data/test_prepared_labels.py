"""Prepared datasets of examples with any number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds

from data.catalogue import map_columns
from data.formats import Field, Row
from data.prepared import prepare
from data.scan import Scan
from data.sources import Part, Source

FIELDS = (
    Field("text", "text", "text", "--set data.text_column=NAME"),
    Field("label", "labels", "label", "--set data.label_column=NAME"),
)
Labels = Sequence[tuple[str, ...]]


def source_of(name: str, splits: Mapping[str, Labels]) -> Source:
    """Return a source of numbered texts with these labels."""

    def part(split: str, rows: Labels) -> Part:
        examples = [
            (split, Row(line, {"text": f"{split} {line}", "label": own})) for line, own in enumerate(rows, 1)
        ]
        return Part(split, lambda: iter(examples))

    return Source(
        name, {split: part(split, rows) for split, rows in splits.items()}, lambda: str(splits), "text"
    )


SPLITS = {
    "several": {"train": [("b", "a"), (), ("a",)], "validation": [("c",)]},
    "one": {"train": [("a",), ("b",)]},
    "more": {"train": [tuple(f"label {i}" for i in range(300)), ("é",), ()], "test": [()]},
}


@pytest.mark.parametrize("name", SPLITS)
def test_label_sets_are_stored(name: str, tmp_path: Path) -> None:
    """An example has its labels in the order of its file, also none; names of all splits are sorted."""
    splits = SPLITS[name]
    scans: list[Scan] = []

    dataset = prepare(
        source_of(name, splits), FIELDS, directory=tmp_path, check=lambda found: scans.append(found) or ()
    )

    every = sorted({label for rows in splits.values() for row in rows for label in row})
    assert dataset.names == {"label": tuple(every)}
    for split, rows in splits.items():
        (batch,) = dataset.batches(split)
        assert [tuple(every[i] for i in ids) for ids in batch["label"]] == rows
        assert scans[0].labels()[split].total() == sum(map(len, rows))
        assert scans[0].examples[split] == len(rows)


def test_other_ways_to_read_labels_are_other_datasets(tmp_path: Path) -> None:
    """A separator, one-hot columns, or one label an example give a dataset of its own."""
    hashes = set()
    ways: tuple[dict[str, Any], ...] = ({}, {"separator": "|"}, {"separator": ";"}, {"one_hot": ("a", "b")})
    for way in ways:
        label = Field("label", "labels", "label", "", **way)
        dataset = prepare(source_of("one", SPLITS["one"]), (FIELDS[0], label), directory=tmp_path)
        hashes.add(dataset.hash)

    assert len(hashes) == len(ways)


def test_a_feature_of_the_catalogue() -> None:
    """The feature of a set of labels is a sequence of class labels; one label is no such feature."""
    features = tfds.features
    columns = map_columns(
        "some/data",
        features.FeaturesDict(
            {
                "text": features.Text(),
                "emotions": features.Sequence(features.ClassLabel(names=["joy", "love"])),
                "source": features.ClassLabel(names=["x"]),
                "words": features.Sequence(features.Text()),
            }
        ),
        FIELDS,
    )

    assert columns == {"text": "text", "label": "emotions"}
