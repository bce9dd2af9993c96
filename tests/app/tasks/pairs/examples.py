"""From pairs of texts to batches: both texts of a pair are one sequence, with a separator in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.tasks.base import ExampleBatch, Examples, Plan
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.task import TASK as CLASSIFICATION
from app.tasks.labels import COLUMN, check_labels, encoded_label_ids, trained_labels, warn_of_labels
from data.batching import Batch, Batches, ExampleBatches
from data.encoding import Encoded, UniqueTokens
from data.findings import Finding
from data.formats import Field
from data.prepared import Dataset
from data.scan import Scan


class PairExamples(Examples[Any, ClassificationFacts]):
    """Two texts and a label."""

    shapes = CLASSIFICATION.examples.shapes
    read_sequences = ("first", "second")

    def fields(self, config: Any) -> tuple[Field, ...]:
        """Return both texts and the label."""
        data = config.data
        return (
            Field("first", "text", data.first_column, "--set data.first_column=NAME"),
            Field("second", "text", data.second_column, "--set data.second_column=NAME"),
            Field("label", "label", data.label_column, "--set data.label_column=NAME"),
        )

    def check(self, found: Scan) -> Iterator[Finding]:
        """Require training examples of at least two classes."""
        yield from super().check(found)
        yield from check_labels(found)

    def warn(self, found: Scan) -> Iterator[Finding]:
        """Warn of labels that no training example has."""
        yield from warn_of_labels(found)

    def plan(
        self,
        dataset: Dataset,
        config: Any,
        training: Callable[[], Iterator[ExampleBatch]],
        kept: Preprocessing[ClassificationFacts] | None = None,
    ) -> Plan:
        """Return two sequences of one vocabulary, and the column `label`."""
        from app.tasks.tokenizing import VOCABULARY, text_tokenizer
        from models.text.tokens import SEQUENCE_TOKENS

        def texts() -> Iterator[np.ndarray]:
            for batch in training():
                yield from (batch["first"], batch["second"])

        tokenizer = text_tokenizer(config, texts, special=SEQUENCE_TOKENS, kept=kept)

        def tokenize(batch: ExampleBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            tokens = {name: tokenizer.tokenize(batch[name]) for name in ("first", "second")}
            return tokens, {COLUMN: batch["label"].astype(np.int32)}

        return Plan(
            tokenize,
            {"first": VOCABULARY, "second": VOCABULARY},
            {VOCABULARY: tokenizer.rule},
            {"subwords": tokenizer.subwords},
        )

    def preprocessing(
        self,
        encoded: Encoded,
        dataset: Dataset,
        config: Any,
        kept: Preprocessing[ClassificationFacts] | None = None,
    ) -> Preprocessing[ClassificationFacts]:
        """Return the tokens and the labels."""
        vocabularies = {**encoded.vocabularies, "labels": trained_labels(encoded, dataset)}
        return Preprocessing(vocabularies, ClassificationFacts.model_validate(encoded.facts))

    def batches(
        self, encoded: Encoded, split: str, preprocessing: Preprocessing[ClassificationFacts], config: Any
    ) -> Batches:
        """Return pairs of similar length: the first text, a separator, and the second text."""
        from models.text.tokens import END_ID

        rows = encoded.splits[split]
        first, second = rows.sequences["first"], rows.sequences["second"]
        labels = encoded_label_ids(encoded, split)

        def make(indices: np.ndarray) -> Batch:
            joined = [[*first.row(int(i)), END_ID, *second.row(int(i))] for i in indices]
            lengths = np.array([len(ids) for ids in joined], np.int32)
            ids = np.zeros((len(joined), lengths.max()), np.int32)
            for row, own in zip(ids, joined, strict=True):
                row[: len(own)] = own
            weights = np.ones(len(indices), np.float32)
            arrays = {"ids": ids, "lengths": lengths, "targets": labels[indices], "weights": weights}
            return Batch(arrays, len(indices), int(lengths.sum()))

        return ExampleBatches(first.lengths + second.lengths, make, batch_size=config.training.batch_size)
