"""From documents, or one text in pieces, to windows of parallel streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.tasks.base import ExampleBatch, Examples, Plan
from app.tasks.generation.config import GenerationConfig
from app.tasks.generation.facts import GenerationFacts
from app.tasks.labels import COLUMN, check_labels, encoded_label_ids, trained_labels, warn_of_labels
from data.encoding import Encoded, UniqueTokens
from data.errors import UserError
from data.findings import Finding
from data.formats import CONTINUES, Field
from data.prepared import Dataset
from data.scan import Scan
from data.streams import StreamBatches, documents


class GenerationExamples(Examples[GenerationConfig, GenerationFacts]):
    """Texts, perhaps with a label each that conditions the model."""

    shapes = ("document", "records")
    tokens_to_learn_from = 14_000_000
    written_sequences = ("tokens",)

    def fields(self, config: GenerationConfig) -> tuple[Field, ...]:
        """Return the text, whether it continues the previous example, and the label if one is configured."""
        data = config.data
        fields = (
            Field("text", "text", data.text_column, "--set data.text_column=NAME"),
            Field(CONTINUES, "flag", CONTINUES, "", optional=True),
        )
        if not data.label_column:
            return fields
        return (*fields, Field("label", "label", data.label_column, "--set data.label_column=NAME"))

    def check(self, found: Scan) -> Iterator[Finding]:
        """Require text, and at least two labels if there are any."""
        if found.labels():
            yield from check_labels(found)
        yield from super().check(found)

    def warn(self, found: Scan) -> Iterator[Finding]:
        """Warn of labels that no training example has."""
        yield from warn_of_labels(found)

    def plan(
        self,
        dataset: Dataset,
        config: GenerationConfig,
        training: Callable[[], Iterator[ExampleBatch]],
        kept: Preprocessing[GenerationFacts] | None = None,
    ) -> Plan:
        """Return the sequence `tokens`, with an end token after each document, and two columns."""
        from app.tasks.tokenizing import VOCABULARY, text_tokenizer
        from models.text.tokens import SEQUENCE_TOKENS

        tokenizer = text_tokenizer(
            config,
            lambda: (batch["text"] for batch in training()),
            special=SEQUENCE_TOKENS,
            lines=True,
            joins=True,
            kept=kept,
        )
        has_labels = "label" in dataset.names
        documents_end = CONTINUES not in dataset.columns

        def tokenize(batch: ExampleBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            tokens = tokenizer.tokenize(batch["text"])
            if documents_end:
                tokens = with_ends(*tokens)
            columns = {CONTINUES: batch.get(CONTINUES, np.zeros(len(tokens[2]), bool))}
            if has_labels:
                columns[COLUMN] = batch["label"].astype(np.int32)
            return {"tokens": tokens}, columns

        facts = {"subwords": tokenizer.subwords, "documents_end": documents_end}
        return Plan(tokenize, {"tokens": VOCABULARY}, {VOCABULARY: tokenizer.rule}, facts)

    def preprocessing(
        self,
        encoded: Encoded,
        dataset: Dataset,
        config: GenerationConfig,
        kept: Preprocessing[GenerationFacts] | None = None,
    ) -> Preprocessing[GenerationFacts]:
        """Return the tokens and the labels.

        Raises:
            UserError: a split has no tokens.
        """
        for name, split in encoded.splits.items():
            if not split.sequences["tokens"].counts.sum():
                raise UserError(f"the {name} split has no tokens, only white space; give more text")
        found = dict(encoded.vocabularies)
        if "label" in dataset.names:
            found["labels"] = trained_labels(encoded, dataset)
        return Preprocessing(found, GenerationFacts.model_validate(encoded.facts))

    def batches(
        self,
        encoded: Encoded,
        split: str,
        preprocessing: Preprocessing[GenerationFacts],
        config: GenerationConfig,
    ) -> StreamBatches:
        """Return windows of streams that carry the hidden state from one window to the next."""
        from models.text.tokens import END_ID

        rows = encoded.splits[split]
        tokens, continues = rows.sequences["tokens"], rows.columns[CONTINUES]
        bounds = documents(tokens.counts, continues)
        labels = None
        if COLUMN in rows.columns:  # a document has the label of its first piece
            first = np.flatnonzero(~continues)
            none = len(preprocessing.labels)  # which an unseen label counts as
            labels = encoded_label_ids(encoded, split)
            labels = np.where(labels < 0, none, np.minimum(labels, none))
            labels = labels[first if len(first) == len(bounds) - 1 else [0, *first]].astype(np.int32)
        return StreamBatches(
            tokens,
            bounds,
            streams=config.training.batch_size,
            window=config.training.sequence_length,
            start_id=END_ID,
            labels=labels,
        )


def with_ends(tokens: Sequence[bytes], places: np.ndarray, lengths: np.ndarray) -> UniqueTokens:
    """Return the tokens of documents with an end token after each."""
    from models.text.tokens import END

    tokens = [*tokens, END]
    return tokens, np.insert(places, np.cumsum(lengths), len(tokens) - 1), lengths + 1
