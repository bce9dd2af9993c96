"""Labels of whole texts: those of rows as a model knows them, and which data have good ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from app.tasks.base import RowBatch
from data.errors import UserError
from data.prepared import Dataset, Scan
from data.splits import ALL_SPLITS


def label_names(dataset: Dataset) -> list[bytes]:
    """The labels of a dataset in the order of their ids; none if it has none."""
    return [name.encode() for name in dataset.names.get("label", ())]


def label_ids(batch: RowBatch, dataset: Dataset, labels: Sequence[bytes]) -> np.ndarray:
    """The labels of rows as ids into `labels`: int32 [B].

    Raises:
        UserError: a row has none, or one that `labels` lack.
    """
    ids: np.ndarray = batch["label"]
    if len(ids) and ids.min() < 0:
        raise UserError(f"{dataset.name}: a row has no label (it is {ids.min()}); choose another split")
    names = label_names(dataset)
    if names == list(labels):
        same: np.ndarray = ids.astype(np.int32)
        return same
    places = {label: i for i, label in enumerate(labels)}
    if unknown := sorted({names[i] for i in set(ids.tolist())} - set(places)):
        raise UserError(
            f"{dataset.name}: label {_shown(unknown[:1])} is none of the model's: {_shown(labels)}"
        )
    return np.array([places[names[i]] for i in ids], np.int32)


def check_labels_known(found: Scan, split: str, labels: Sequence[bytes]) -> None:
    """Refuses labels of a split that a model does not have."""
    present = set().union(*(counts for name, counts in found.labels().items() if split in (name, ALL_SPLITS)))
    if unknown := sorted(present - {label.decode() for label in labels}):
        raise UserError(f"label {unknown[0]!r} (split {split}) is none of the model's: {_shown(labels)}")


def _shown(labels: Sequence[bytes]) -> str:
    if len(labels) == 1:
        return repr(labels[0].decode())
    return ", ".join(label.decode() for label in labels[:10])


def check_labels(found: Scan) -> None:
    """At least two classes to learn, and no class elsewhere that training never sees."""
    train = found.labels().get("train", Counter())
    if len(train) < 2:
        only = next(iter(train), None)
        raise UserError(f"only one class in the training rows ({only!r}); expected at least two")
    for split, counts in found.labels().items():
        if unseen := sorted(set(counts) - set(train)):
            shown = ", ".join(repr(label) for label in unseen[:5]) + (" …" if len(unseen) > 5 else "")
            raise UserError(
                f"label {shown} in the {split} rows, but never in the training rows; "
                "give it training rows or take it out"
            )
