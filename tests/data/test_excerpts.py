"""Excerpts: a few examples of a split."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from data.dataset import Dataset
from data.excerpts import evenly, excerpt
from data.formats import CONTINUES, Field
from data.prepared import prepare
from data.sources import Source, open_source

FIELDS = (
    Field("text", "text", "text", "--set data.text_column=NAME"),
    Field("label", "label", "label", "--set data.label_column=NAME"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return a dataset of 30 validation examples: the i-th has the text `i`, ten in a row have one label."""
    folder = tmp_path_factory.mktemp("excerpts")
    for split in ("train", "validation"):
        rows = [{"text": f"{i:02}", "label": "abc"[i // 10]} for i in range(30)]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    source = open_source(str(folder), FIELDS, ("records", "lines"))
    assert isinstance(source, Source)
    return prepare(source, FIELDS, directory=folder / "prepared")


def texts(dataset: Dataset, split: str, size: int = 1024) -> list[list[str]]:
    """Return the texts of each batch."""
    return [[text.decode() for text in batch["text"]] for batch in dataset.batches(split, size)]


def test_it_is_spread_over_the_split(dataset: Dataset) -> None:
    """All labels are in it though the split is sorted, and other splits stay whole."""
    found = excerpt(dataset, "validation", most=4, largest=10_000)

    assert texts(found, "validation", 3) == [["00", "09", "19"], ["29"]]
    assert [batch["label"].tolist() for batch in found.batches("validation")] == [[0, 0, 1, 2]]
    assert (found.size("validation"), found.size("train")) == (4, 30)
    assert texts(found, "train") == texts(dataset, "train")
    assert found.names == dataset.names
    assert found.hash.startswith(dataset.hash)
    assert found.hash != dataset.hash


def test_bytes_are_bounded(dataset: Dataset) -> None:
    """A row costs four: three for its text and one for its label. A single one may cost more."""
    assert texts(excerpt(dataset, "validation", most=30, largest=12), "validation") == [["00", "14", "29"]]
    assert texts(excerpt(dataset, "validation", most=30, largest=1), "validation") == [["00"]]


def test_a_small_split_stays_as_it_is(dataset: Dataset) -> None:
    """It is the same dataset."""
    assert excerpt(dataset, "validation", most=30, largest=1000) is dataset


def test_pieces_of_documents_stay_together(dataset: Dataset) -> None:
    """Of documents in pieces the first pieces are taken."""
    in_pieces = replace(dataset, columns={CONTINUES: "label", "text": "text"})
    found = excerpt(in_pieces, "validation", most=8, largest=12)

    assert texts(found, "validation") == [["00", "01", "02"]]


@pytest.mark.parametrize(
    ("examples", "most", "expected"),
    [(5, 9, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (9, 1, [0])],
    ids=["all", "some", "one"],
)
def test_evenly(examples: int, most: int, expected: list[int]) -> None:
    """Indices ascend from the first to the last example."""
    assert np.array_equal(evenly(examples, most), expected)
