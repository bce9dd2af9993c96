"""Labels of whole texts: their ids, and checks that a dataset has good ones.

A model knows the labels that occur in its training examples. Other labels of other splits are *unseen*: they
have ids after those of the model, so that no prediction equals them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from app.tasks.base import ExampleBatch
from data.encoding import Encoded
from data.errors import UserError
from data.findings import Finding
from data.label_warnings import unseen_labels, warn_of_classes
from data.prepared import Dataset
from data.scan import Scan

COLUMN = "label"
"""The column of an encoded split that has the label of each example, as an id of the dataset."""
SEQUENCE = "labels"
"""The sequence of an encoded split that has the labels of each example, and the vocabulary of its ids."""
MOST_SHOWN = 5


def label_names(dataset: Dataset) -> list[bytes]:
    """Return the labels of a dataset in the order of their ids; empty if it has none."""
    return [name.encode() for name in dataset.names.get("label", ())]


def label_ids(batch: ExampleBatch, dataset: Dataset, labels: Sequence[bytes]) -> np.ndarray:
    """Return the labels of examples as ids into `labels`: int32 [B], -1 for a label that is not among them.

    Raises:
        UserError: an example has no label, or a set of labels.
    """
    ids: np.ndarray = batch["label"]
    if ids.dtype == object:
        raise UserError(
            f"{dataset.name}: examples have sets of labels, and the model predicts one label; "
            "give examples with one label each"
        )
    _require_labels(ids, dataset)
    places = {label: i for i, label in enumerate(labels)}
    mapped = np.array([places.get(name, -1) for name in label_names(dataset)], np.int32)
    found: np.ndarray = mapped[ids]
    return found


def label_sets(batch: ExampleBatch, dataset: Dataset, labels: Sequence[bytes]) -> np.ndarray:
    """Return the sets of labels of examples: bool [B, labels], whether an example has each of `labels`.

    Examples with one label each have sets of one label.

    Raises:
        UserError: an example has no label where each must have one.
    """
    found = np.zeros((len(batch["label"]), len(labels)), bool)
    places = {label: i for i, label in enumerate(labels)}
    names = label_names(dataset)
    for row, own in zip(found, batch["label"], strict=True):
        ids = np.atleast_1d(own)
        _require_labels(ids, dataset)
        row[[places[names[i]] for i in ids if names[i] in places]] = True
    return found


def _require_labels(ids: np.ndarray, dataset: Dataset) -> None:
    if len(ids) and ids.min() < 0:
        raise UserError(
            f"{dataset.name}: an example has no label (its id is {ids.min()}); choose another split"
        )


def with_unseen(labels: Sequence[bytes], dataset: Dataset) -> list[bytes]:
    """Return the labels of a model, and after them those of a dataset that the model does not know."""
    known = set(labels)
    return [*labels, *(name for name in label_names(dataset) if name not in known)]


def trained_labels(encoded: Encoded, dataset: Dataset) -> list[bytes]:
    """Return the labels that occur in the training examples, in the order of the dataset."""
    occur = _counts(encoded, dataset, "train")
    return [name for name in label_names(dataset) if occur[name.decode()]]


def encoded_label_ids(encoded: Encoded, split: str) -> np.ndarray:
    """Return the label of each example of a split as an id into `trained_labels`: int32 [examples].

    An unseen label has an id from the number of those labels on; an example without a label has -1.
    """
    own = encoded.splits[split].columns[COLUMN]
    of_train = encoded.splits["train"].columns[COLUMN]
    known = np.unique(of_train[of_train >= 0])
    every = np.concatenate([known, np.setdiff1d(own[own >= 0], known)])
    places = np.full(max(every, default=0) + 2, -1, np.int32)  # the last one is that of -1
    places[every] = np.arange(len(every))
    ids: np.ndarray = places[own]
    return ids


def _counts(encoded: Encoded, dataset: Dataset, split: str) -> Counter[str]:
    rows = encoded.splits[split]
    if SEQUENCE in rows.sequences:
        names = [name.decode() for name in encoded.vocabularies[SEQUENCE]]
        counts = rows.sequences[SEQUENCE].occurrences(len(names))
    else:
        names = list(dataset.names["label"])
        ids = rows.columns[COLUMN]
        counts = np.bincount(ids[ids >= 0], minlength=len(names))
    return Counter({name: int(n) for name, n in zip(names, counts, strict=True) if n})


def check_labels(found: Scan) -> Iterator[Finding]:
    """Yield an error if all training examples have the same labels, or validation has none of theirs."""
    train, examples = found.labels().get("train", Counter()), found.examples["train"]
    if not examples:
        return
    if found.several_labels:
        if not train:
            yield Finding("no training example has a label", "name the right label column")
        elif all(count == examples for count in train.values()):
            yield Finding(
                f"all training examples have the same labels, {_listed(sorted(train))}",
                "add examples with other labels, or name the right label column",
            )
    elif len(train) < 2:
        yield Finding(
            f"the training examples have only one class, {next(iter(train), None)!r}",
            "add examples of another class, or name the right label column",
        )
    elif (missing := examples - train.total()) > 0:
        yield Finding(
            f"{missing:,} of {examples:,} training examples have no label",
            "add their labels, or leave these examples out",
        )
    validation = found.labels().get("validation", Counter())
    if train and validation and not train.keys() & validation.keys():
        yield Finding(
            f"no validation example has a label that occurs in train: {_listed(sorted(validation))}",
            "correct them, or give validation examples with labels of train",
        )


def warn_of_labels(found: Scan, *, separable: bool = False) -> Iterator[Finding]:
    """Yield warnings of labels that no training example has, that are no classes, or nearly the same."""
    train = found.labels().get("train", Counter())
    for split, counts in found.labels().items():
        if split != "train" and (unseen := sorted(set(counts) - set(train))):
            counted = {label: counts[label] for label in unseen}
            yield unseen_labels(split, counted, several=found.several_labels)
    yield from warn_of_classes(found.labels(), separable=separable, several=found.several_labels)


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels[:MOST_SHOWN])) + (" …" if len(labels) > MOST_SHOWN else "")
