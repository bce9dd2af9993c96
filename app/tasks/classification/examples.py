"""From texts and labels to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.metrics import ACCURACY, MICRO_F1
from app.tasks.base import ExampleBatch, Examples, Plan
from app.tasks.classification.config import ClassificationConfig
from app.tasks.classification.facts import ClassificationFacts
from app.tasks.classification.label_set_examples import EVERY_LABEL, label_sequences, label_set_batches
from app.tasks.classification.ngrams import number_of_ngrams
from app.tasks.labels import (
    COLUMN,
    SEQUENCE,
    check_labels,
    encoded_label_ids,
    trained_labels,
    warn_of_labels,
)
from data.batching import Batch, Batches, ExampleBatches
from data.encoding import Encoded, UniqueTokens
from data.errors import UserError
from data.findings import Finding
from data.formats import Field
from data.prepared import Dataset
from data.scan import Scan
from data.sources import CatalogueName, Source


class ClassificationExamples(Examples[ClassificationConfig, ClassificationFacts]):
    """Texts with one label each, or with any number of labels."""

    shapes = ("records",)

    def fields(self, config: ClassificationConfig) -> tuple[Field, ...]:
        """Return the text and its label, or its labels."""
        data = config.data
        return (
            Field("text", "text", data.text_column, "--set data.text_column=NAME"),
            Field(
                "label",
                "labels" if data.several_labels else "label",
                data.label_column,
                "--set data.label_column=NAME",
                separator=data.label_separator,
                one_hot=tuple(name.strip() for name in data.label_columns.split(",") if name.strip()),
            ),
        )

    def unlabelled(self, config: ClassificationConfig) -> str:
        """Return `data.unlabelled`."""
        return config.data.unlabelled

    def with_data(self, config: ClassificationConfig, source: Source | CatalogueName) -> ClassificationConfig:
        """Return the configuration with `data.labels = "several"` if examples have any number of labels.

        The metric that selects the best epoch is then one of sets of labels: `accuracy`, the default, becomes
        `micro_f1`.

        Raises:
            UserError: the data has lists of labels, and `data.labels` is `one`.
        """
        data, training = config.data, config.training
        has_lists = isinstance(source, Source) and source.several_labels
        if has_lists and data.labels == "one":
            raise UserError(
                "data.labels = 'one', but the examples have lists of labels; use 'several', or leave it out"
            )
        if not (data.several_labels or (data.labels == "auto" and has_lists)):
            return config
        if config.decision.rejects or config.decision.out_of_scope:
            key = "out_of_scope" if config.decision.out_of_scope else "precision or decision.coverage"
            raise UserError(
                f"decision.{key}: the examples have any number of labels, each with a threshold of its own; "
                "leave it out"
            )
        metric = training.early_stopping_metric
        metric = MICRO_F1.name if metric == ACCURACY.name else metric
        return config.model_copy(
            update={
                "data": data.model_copy(update={"labels": "several"}),
                "training": training.model_copy(update={"early_stopping_metric": metric}),
            }
        )

    def check(self, found: Scan) -> Iterator[Finding]:
        """Require training examples of at least two classes, or of two sets of labels."""
        yield from check_labels(found)
        yield from super().check(found)

    def warn(self, found: Scan) -> Iterator[Finding]:
        """Warn of labels that no training example has."""
        yield from warn_of_labels(found, separable=True)

    def plan(
        self,
        dataset: Dataset,
        config: ClassificationConfig,
        training: Callable[[], Iterator[ExampleBatch]],
        kept: Preprocessing[ClassificationFacts] | None = None,
    ) -> Plan:
        """Return the sequence `tokens`, and the column `label` or the sequence `labels`."""
        from app.tasks.tokenizing import VOCABULARY, text_tokenizer

        tokenizer = text_tokenizer(config, lambda: (batch["text"] for batch in training()), kept=kept)
        several = config.data.several_labels

        def tokenize(batch: ExampleBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            tokens = tokenizer.tokenize(batch["text"])
            if "label" not in batch:
                return unlabelled_tokens(tokens, several=several)
            if several:
                return {"tokens": tokens, SEQUENCE: label_sequences(batch, dataset)}, {}
            return {"tokens": tokens}, {COLUMN: batch["label"].astype(np.int32)}

        vocabulary_of, rules = {"tokens": VOCABULARY}, {VOCABULARY: tokenizer.rule}
        if several:
            vocabulary_of[SEQUENCE] = SEQUENCE
            rules[SEQUENCE] = EVERY_LABEL
        facts = {"subwords": tokenizer.subwords, "several_labels": several}
        return Plan(tokenize, vocabulary_of, rules, facts)

    def preprocessing(
        self,
        encoded: Encoded,
        dataset: Dataset,
        config: ClassificationConfig,
        kept: Preprocessing[ClassificationFacts] | None = None,
    ) -> Preprocessing[ClassificationFacts]:
        """Return the tokens, and the labels that occur in the training examples."""
        vocabularies = {**encoded.vocabularies, "labels": trained_labels(encoded, dataset)}
        facts = ClassificationFacts.model_validate(encoded.facts)
        if config.model.ngrams:
            tokens = encoded.splits["train"].sequences["tokens"]
            sizes = len(vocabularies["vocabulary"]), len(vocabularies["labels"])
            number = number_of_ngrams(tokens, *sizes, config.model.ngrams, config.model.ngram_vocabulary_size)
            facts = facts.model_copy(update={"ngrams": number})
        return Preprocessing(vocabularies, facts)

    def batches(
        self,
        encoded: Encoded,
        split: str,
        preprocessing: Preprocessing[ClassificationFacts],
        config: ClassificationConfig,
    ) -> Batches:
        """Return texts of similar length, each with its labels and their weights in the loss.

        Examples without a label are left out if each example must have one.
        """
        balanced = config.training.class_weights == "balanced"
        size = config.training.batch_size
        if preprocessing.facts.several_labels:
            return label_set_batches(encoded, split, preprocessing.labels, balanced=balanced, batch_size=size)
        tokens = encoded.splits[split].sequences["tokens"]
        labels = encoded_label_ids(encoded, split)
        kept = np.flatnonzero(labels >= 0).astype(np.int32)
        labels = labels[kept]
        weights = np.broadcast_to(np.float32(1), len(labels))
        if balanced:
            counts = np.bincount(labels)
            weights = np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]), np.float32)

        def make(indices: np.ndarray) -> Batch:
            ids, lengths = tokens.batch(kept[indices])
            arrays = {"ids": ids, "lengths": lengths, "targets": labels[indices], "weights": weights[indices]}
            return Batch(arrays, len(indices), int(lengths.sum()))

        return ExampleBatches(tokens.lengths[kept], make, batch_size=size)


def unlabelled_tokens(
    tokens: UniqueTokens, *, several: bool
) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
    """Return sequences and columns of texts without labels: the label -1, or an empty set of labels."""
    rows = len(tokens[2])
    if several:
        return {"tokens": tokens, SEQUENCE: ([], np.zeros(0, np.int64), np.zeros(rows, np.int64))}, {}
    return {"tokens": tokens}, {COLUMN: np.full(rows, -1, np.int32)}
