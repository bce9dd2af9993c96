"""Sets of labels: as sequences of ids on disk, and as rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.tasks.base import ExampleBatch
from app.tasks.labels import SEQUENCE, label_names
from data.batching import Batch, Batches, ExampleBatches
from data.encoding import Encoded, UniqueTokens, VocabularyRule
from data.errors import UserError
from data.prepared import Dataset

EVERY_LABEL = VocabularyRule((), 0, 1 << 31, training_only=False)
"""All labels of the training and validation examples have an id."""


def label_sequences(batch: ExampleBatch, dataset: Dataset) -> UniqueTokens:
    """Return the labels of each example.

    Raises:
        UserError: a label of the catalogue is unknown.
    """
    lengths = np.array([len(ids) for ids in batch["label"]], np.int64)
    distinct, places = np.unique(np.concatenate(batch["label"]).astype(np.int64), return_inverse=True)
    if len(distinct) and distinct[0] < 0:
        raise UserError(f"{dataset.name}: an example has an unknown label (its id is {distinct[0]})")
    names = label_names(dataset)
    return [names[i] for i in distinct], places, lengths


def label_set_batches(
    encoded: Encoded, split: str, labels: Sequence[bytes], *, balanced: bool, batch_size: int
) -> Batches:
    """Return texts of similar length, each with its set of labels.

    The arrays of a batch are `ids`, `lengths`, and `targets` bool [B, labels + unseen labels]; of training
    batches also `weights` float32 [B, labels]. The rows of `targets` are made for each batch, because all of
    them would take examples times labels of memory.

    Args:
        encoded: has the sequences `tokens` and `labels`.
        split: name of the split.
        labels: of the model; unseen labels of the split have the columns after theirs.
        balanced: whether examples with a label and those without it have the same total weight.
        batch_size: of a training step.
    """
    rows = encoded.splits[split]
    tokens, sets = rows.sequences["tokens"], rows.sequences[SEQUENCE]
    names = encoded.vocabularies[SEQUENCE]
    present = np.unique(sets.span(0, int(sets.counts.sum())))
    known = set(labels)
    every = [*labels, *(names[i] for i in present if names[i] not in known)]
    places = {name: place for place, name in enumerate(every)}
    columns = np.array([places.get(name, -1) for name in names], np.int64)
    weight = balanced_weights(encoded, labels) if balanced else np.ones((2, len(labels)), np.float32)

    def make(indices: np.ndarray) -> Batch:
        ids, lengths = tokens.batch(indices)
        targets = np.zeros((len(indices), len(every)), bool)
        for row, index in zip(targets, indices.tolist(), strict=True):
            row[columns[sets.row(index)]] = True
        arrays = {"ids": ids, "lengths": lengths, "targets": targets}
        if split == "train":
            arrays["weights"] = np.where(targets, weight[1], weight[0])
        return Batch(arrays, len(indices), int(lengths.sum()))

    return ExampleBatches(tokens.lengths, make, batch_size=batch_size)


def balanced_weights(encoded: Encoded, labels: Sequence[bytes]) -> np.ndarray:
    """Return the weights of examples without and with each label: float32 [2, labels].

    Of N training examples n have a label: those have the weight N / 2n, the others N / 2(N - n), as
    `class_weight="balanced"` of scikit-learn for a classifier of this label alone.
    """
    total = len(encoded.splits["train"])
    by_name = dict(zip(encoded.vocabularies[SEQUENCE], encoded.counts[SEQUENCE], strict=True))
    having = np.array([by_name[label] for label in labels], np.float64)
    return np.asarray(total / (2 * np.maximum([total - having, having], 1)), np.float32)
