"""Labels of whole texts: their ids, and checks that a dataset has good ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from app.tasks.base import ExampleBatch
from data.errors import UserError
from data.findings import Finding
from data.label_warnings import unseen_labels, warn_of_classes
from data.prepared import Dataset
from data.scan import Scan

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


def _listed(labels: Sequence[bytes]) -> str:
    more = f", … ({len(labels)} in total)" if len(labels) > MOST_SHOWN else ""
    return ", ".join(label.decode() for label in labels[:MOST_SHOWN]) + more


def check_labels(found: Scan) -> Iterator[Finding]:
    """Yield an error if there are fewer than two classes."""
    train = found.labels().get("train", Counter())
    if found.examples["train"] and len(train) < 2:
        only = next(iter(train), None)
        yield Finding(
            f"the training examples have only one class, {only!r}",
            "add examples of another class, or name the right label column",
        )


def warn_of_labels(found: Scan, *, separable: bool = False) -> Iterator[Finding]:
    """Yield warnings of labels that no training example has, that are no classes, or nearly the same."""
    train = found.labels().get("train", Counter())
    for split, counts in found.labels().items():
        if split != "train" and (unseen := sorted(set(counts) - set(train))):
            yield unseen_labels(split, {label: counts[label] for label in unseen})
    yield from warn_of_classes(found.labels(), separable=separable)
