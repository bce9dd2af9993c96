"""Labels of whole texts: their ids, and checks that a dataset has good ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from app.tasks.base import ExampleBatch
from data.errors import UserError
from data.prepared import Dataset
from data.scan import Scan
from data.splits import ALL_SPLITS

MOST_SHOWN = 10


def label_names(dataset: Dataset) -> list[bytes]:
    """Return the labels of a dataset in the order of their ids; empty if it has none."""
    return [name.encode() for name in dataset.names.get("label", ())]


def label_ids(batch: ExampleBatch, dataset: Dataset, labels: Sequence[bytes]) -> np.ndarray:
    """Return the labels of examples as ids into `labels`: int32 [B].

    Raises:
        UserError: an example has no label, or one that is not among `labels`.
    """
    ids: np.ndarray = batch["label"]
    if len(ids) and ids.min() < 0:
        raise UserError(
            f"{dataset.name}: an example has no label (its id is {ids.min()}); choose another split"
        )
    names = label_names(dataset)
    if names == list(labels):
        same: np.ndarray = ids.astype(np.int32)
        return same
    places = {label: i for i, label in enumerate(labels)}
    if unknown := sorted({names[i] for i in set(ids.tolist())} - set(places)):
        raise UserError(
            f"{dataset.name}: label {unknown[0].decode()!r} is unknown to the model; "
            f"known labels: {_listed(labels)}"
        )
    return np.array([places[names[i]] for i in ids], np.int32)


def check_labels_known(found: Scan, split: str, labels: Sequence[bytes]) -> None:
    """Raise a UserError for labels of a split that a model does not know."""
    present = set().union(*(counts for name, counts in found.labels().items() if split in (name, ALL_SPLITS)))
    if unknown := sorted(present - {label.decode() for label in labels}):
        raise UserError(
            f"label {unknown[0]!r} (split {split}) is unknown to the model; known labels: {_listed(labels)}"
        )


def _listed(labels: Sequence[bytes]) -> str:
    more = f", … ({len(labels)} in total)" if len(labels) > MOST_SHOWN else ""
    return ", ".join(label.decode() for label in labels[:MOST_SHOWN]) + more


def check_labels(found: Scan) -> None:
    """Raise a UserError if there are fewer than two classes, or a class without training examples."""
    train = found.labels().get("train", Counter())
    if len(train) < 2:
        only = next(iter(train), None)
        raise UserError(f"only one class in the training examples ({only!r}); expected at least two")
    for split, counts in found.labels().items():
        if unseen := sorted(set(counts) - set(train)):
            shown = ", ".join(repr(label) for label in unseen[:5]) + (" …" if len(unseen) > 5 else "")
            raise UserError(
                f"label {shown} occurs in the {split} examples, but not in the training examples; "
                "add training examples with it, or remove it"
            )
