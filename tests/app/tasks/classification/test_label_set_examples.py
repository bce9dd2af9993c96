"""Sets of labels as sequences of ids on disk, and as rows of a batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.tasks.classification.label_set_examples import EVERY_LABEL, label_sequences, label_set_batches
from app.tasks.labels import SEQUENCE, label_ids, label_sets, trained_labels, with_unseen
from data.encoding import Encoded, TokenizedBatch, VocabularyRule, encode, load_encoded
from data.errors import UserError

NAMES = ("a", "b", "c", "d")
DATASET: Any = SimpleNamespace(name="letters", names={"label": NAMES})


def column(*rows: str) -> np.ndarray:
    """Return the labels of examples, a letter each, as a dataset yields them."""
    found = np.empty(len(rows), object)
    found[:] = [np.array([NAMES.index(letter) for letter in row], np.int64) for row in rows]
    return found


def encoded(directory: Path, **splits: tuple[str, ...]) -> Encoded:
    """Return an encoded dataset of texts of one word."""
    batches = [
        TokenizedBatch(
            split,
            {
                "tokens": ([b"word"], np.zeros(len(rows), np.int64), np.ones(len(rows), np.int64)),
                SEQUENCE: label_sequences({"label": column(*rows)}, DATASET),
            },
            {},
        )
        for split, rows in splits.items()
    ]
    rules = {"vocabulary": VocabularyRule((b"", b"[UNK]"), 1, 100), SEQUENCE: EVERY_LABEL}
    encode(
        batches, vocabulary_of={"tokens": "vocabulary", SEQUENCE: SEQUENCE}, rules=rules, directory=directory
    )
    return load_encoded(directory)


def test_batches(tmp_path: Path) -> None:
    """A row has its labels, in the order of the model's; labels that only validation has come after them."""
    found = encoded(tmp_path, train=("c", "ca", "", "c"), validation=("db", "a", "acd"))
    labels = trained_labels(found, DATASET)

    assert labels == [b"a", b"c"]
    train, validation = (
        label_set_batches(found, split, labels, balanced=False, batch_size=4)
        .batch(np.array([1, 0, 2]))
        .arrays
        for split in ("train", "validation")
    )
    assert train["targets"].tolist() == [[True, True], [False, True], [False, False]]
    assert train["weights"].tolist() == [[1, 1]] * 3
    known, unseen = validation["targets"][:, :2], validation["targets"][:, 2:]
    assert known.tolist() == [[True, False], [False, False], [True, True]]
    assert unseen.sum(axis=1).tolist() == [0, 2, 1]


def test_balanced_weights(tmp_path: Path) -> None:
    """Examples with a label weigh as much in all as those without it, and an example weighs 1 on average."""
    found = encoded(tmp_path, train=("a", "ab", "a", "", "abc", "c", "c", "c"))
    batches = label_set_batches(found, "train", [b"a", b"b", b"c"], balanced=True, batch_size=8)
    arrays = batches.batch(np.arange(8)).arrays

    having = np.where(arrays["targets"], arrays["weights"], 0).sum(axis=0)
    lacking = np.where(arrays["targets"], 0, arrays["weights"]).sum(axis=0)
    np.testing.assert_allclose(having, [4, 4, 4])
    np.testing.assert_allclose(lacking, [4, 4, 4])


def test_many_labels_take_little_space(tmp_path: Path) -> None:
    """An example takes the space of its own labels, however many labels there are."""
    labels, examples = 5000, 200
    names = tuple(f"label {i}" for i in range(labels))
    dataset: Any = SimpleNamespace(name="many", names={"label": names})
    rows = np.empty(examples, object)
    rows[:] = [np.arange(i * 25, i * 25 + 25) for i in range(examples)]
    sequences = {
        "tokens": ([b"word"], np.zeros(examples, np.int64), np.ones(examples, np.int64)),
        SEQUENCE: label_sequences({"label": rows}, dataset),
    }
    rules = {"vocabulary": VocabularyRule((b"", b"[UNK]"), 1, 100), SEQUENCE: EVERY_LABEL}
    of = {"tokens": "vocabulary", SEQUENCE: SEQUENCE}
    encode([TokenizedBatch("train", sequences, {})], vocabulary_of=of, rules=rules, directory=tmp_path)

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < examples * labels / 5
    found = load_encoded(tmp_path)
    batches = label_set_batches(found, "train", trained_labels(found, dataset), balanced=True, batch_size=64)
    assert batches.batch(np.array([7])).arrays["targets"].sum() == 25


def test_label_sets() -> None:
    """Sets of an evaluated dataset, whose labels may be others; one label an example is a set too."""
    every = with_unseen([b"d", b"a"], DATASET)

    assert every == [b"d", b"a", b"b", b"c"]
    sets = label_sets({"label": column("ab", "", "d")}, DATASET, every)
    assert sets.tolist() == [
        [False, True, True, False],
        [False, False, False, False],
        [True, False, False, False],
    ]
    one = label_sets({"label": np.array([0, 3])}, DATASET, every)
    assert one.tolist() == [[False, True, False, False], [True, False, False, False]]


@pytest.mark.parametrize("ids", [[0, -1], [-1], [2, -1, 0]])
def test_an_example_without_a_label(ids: list[int]) -> None:
    """It is refused where each example must have one."""
    for read in (label_ids, label_sets):
        with pytest.raises(
            UserError, match=r"an example has no label \(its id is -1\); choose another split"
        ):
            read({"label": np.array(ids)}, DATASET, [b"a"])


def test_an_unknown_label_of_the_catalogue() -> None:
    """An id below 0 in a set is refused."""
    rows = np.empty(1, object)
    rows[:] = [np.array([1, -1])]

    with pytest.raises(UserError, match="an example has an unknown label"):
        label_sequences({"label": rows}, DATASET)


def test_label_ids_of_labels_that_are_not_asked_for() -> None:
    """They are -1."""
    assert label_ids({"label": np.array([3, 0, 1])}, DATASET, [b"b", b"d"]).tolist() == [1, -1, 0]
