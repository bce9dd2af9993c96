"""From texts and labels to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from app.artifacts.preprocessing import Facts, Preprocessing
from app.tasks.base import ExampleBatch, Examples, Plan
from app.tasks.classification.config import ClassificationConfig
from app.tasks.labels import check_labels, label_ids, label_names, warn_of_labels
from data.batching import Batch, Batches, ExampleBatches
from data.encoding import Encoded, UniqueTokens
from data.findings import Finding
from data.formats import Field
from data.prepared import Dataset
from data.scan import Scan


class ClassificationExamples(Examples[ClassificationConfig, Facts]):
    """Texts with one label each."""

    shapes = ("records",)

    def fields(self, config: ClassificationConfig) -> tuple[Field, ...]:
        """Return the text and its label."""
        return (
            Field("text", "text", config.data.text_column, "--set data.text_column=NAME"),
            Field("label", "label", config.data.label_column, "--set data.label_column=NAME"),
        )

    def check(self, found: Scan) -> Iterator[Finding]:
        """Require training examples of at least two classes."""
        yield from super().check(found)
        yield from check_labels(found)

    def warn(self, found: Scan) -> Iterator[Finding]:
        """Warn of labels that no training example has."""
        yield from warn_of_labels(found, separable=True)

    def plan(
        self, dataset: Dataset, config: ClassificationConfig, training: Callable[[], Iterator[ExampleBatch]]
    ) -> Plan:
        """Return one sequence, `tokens`, and the column `label`."""
        from app.tasks.tokenizing import VOCABULARY, text_tokenizer

        tokenizer = text_tokenizer(config, lambda: (batch["text"] for batch in training()))
        labels = label_names(dataset)

        def tokenize(batch: ExampleBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            return {"tokens": tokenizer.tokenize(batch["text"])}, {"label": label_ids(batch, dataset, labels)}

        facts = {"subwords": tokenizer.subwords}
        return Plan(tokenize, {"tokens": VOCABULARY}, {VOCABULARY: tokenizer.rule}, facts)

    def preprocessing(
        self, encoded: Encoded, dataset: Dataset, config: ClassificationConfig
    ) -> Preprocessing[Facts]:
        """Return the tokens and the labels."""
        vocabularies = {**encoded.vocabularies, "labels": label_names(dataset)}
        return Preprocessing(vocabularies, Facts.model_validate(encoded.facts))

    def batches(
        self, encoded: Encoded, split: str, preprocessing: Preprocessing[Facts], config: ClassificationConfig
    ) -> Batches:
        """Return texts of similar length, each with its label and its weight in the loss."""
        rows = encoded.splits[split]
        tokens, labels = rows.sequences["tokens"], rows.columns["label"]
        weights = np.ones(len(labels), np.float32)
        if config.training.class_weights == "balanced":
            counts = np.bincount(labels)
            weights = np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]), np.float32)

        def make(indices: np.ndarray) -> Batch:
            ids, lengths = tokens.batch(indices)
            arrays = {"ids": ids, "lengths": lengths, "targets": labels[indices], "weights": weights[indices]}
            return Batch(arrays, len(indices), int(lengths.sum()))

        return ExampleBatches(tokens.lengths, make, batch_size=config.training.batch_size)
