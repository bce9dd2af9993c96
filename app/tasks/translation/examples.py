"""From pairs of texts to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.tasks.base import ExampleBatch, Examples, Plan
from app.tasks.translation.bleu import EXAMPLES_READ, require_tokenizer, tokenizer_for
from app.tasks.translation.config import TranslationConfig
from app.tasks.translation.facts import TranslationFacts
from app.tasks.translation.vocabularies import target_name
from data.batching import Batch, Batches, ExampleBatches
from data.encoding import Encoded, UniqueTokens
from data.errors import UserError
from data.formats import Field
from data.prepared import Dataset

if TYPE_CHECKING:
    from app.tasks.tokenizing import TextTokenizer


class TranslationExamples(Examples[TranslationConfig, TranslationFacts]):
    """A source text and a target text."""

    shapes = ("records",)
    tokens_to_learn_from = 14_000_000
    read_sequences = ("source", "target")
    written_sequences = ("target",)
    pair = ("source", "target")

    def fields(self, config: TranslationConfig) -> tuple[Field, ...]:
        """Return the texts of both languages."""
        data = config.data
        return (
            Field("source", "text", data.source, "--set data.source=NAME"),
            Field("target", "text", data.target, "--set data.target=NAME"),
        )

    def parallel(self, config: TranslationConfig) -> tuple[str, ...]:
        """Return the suffixes of the files of both languages."""
        return (config.data.source, config.data.target)

    def plan(
        self,
        dataset: Dataset,
        config: TranslationConfig,
        training: Callable[[], Iterator[ExampleBatch]],
        kept: Preprocessing[TranslationFacts] | None = None,
    ) -> Plan:
        """Return two sequences, `source` and `target`, of one shared vocabulary or of two."""
        from app.tasks.tokenizing import VOCABULARY, text_tokenizer
        from models.text.tokens import SEQUENCE_TOKENS

        def tokenizer(names: Sequence[str], vocabulary: str, *, joins: bool) -> TextTokenizer:
            def texts() -> Iterator[np.ndarray]:
                for batch in training():
                    yield from (batch[name] for name in names)

            return text_tokenizer(
                config,
                texts,
                special=SEQUENCE_TOKENS,
                vocabulary=vocabulary,
                collapse=True,
                joins=joins,
                kept=kept,
            )

        target_vocabulary = target_name(config)
        if config.text.shared:
            source = target = tokenizer(["source", "target"], VOCABULARY, joins=True)
        else:
            source = tokenizer(["source"], VOCABULARY, joins=False)
            target = tokenizer(["target"], target_vocabulary, joins=True)

        def tokenize(batch: ExampleBatch) -> tuple[dict[str, UniqueTokens], dict[str, np.ndarray]]:
            pair = {"source": source.tokenize(batch["source"]), "target": target.tokenize(batch["target"])}
            return pair, {}

        return Plan(
            tokenize,
            {"source": VOCABULARY, "target": target_vocabulary},
            {VOCABULARY: source.rule, target_vocabulary: target.rule},
            {"subwords": source.subwords | target.subwords},
        )

    def vocabulary_of(self, sequence: str, config: TranslationConfig) -> str:
        """Return the name of the vocabulary of a language."""
        return target_name(config) if sequence == "target" else "vocabulary"

    def preprocessing(
        self,
        encoded: Encoded,
        dataset: Dataset,
        config: TranslationConfig,
        kept: Preprocessing[TranslationFacts] | None = None,
    ) -> Preprocessing[TranslationFacts]:
        """Return the vocabularies of both languages, and the tokenizer of BLEU.

        Raises:
            UserError: the tokenizer needs a package that is not installed.
        """
        tokenizer: str = config.decoding.bleu_tokenizer
        if tokenizer == "auto":
            texts = next(iter(dataset.batches("train", size=EXAMPLES_READ)))["target"]
            tokenizer = tokenizer_for(text.decode(errors="replace") for text in texts)
        facts = {**encoded.facts, "bleu_tokenizer": require_tokenizer(tokenizer)}
        return Preprocessing(dict(encoded.vocabularies), TranslationFacts.model_validate(facts))

    def batches(
        self,
        encoded: Encoded,
        split: str,
        preprocessing: Preprocessing[TranslationFacts],
        config: TranslationConfig,
    ) -> Batches:
        """Return pairs of similar length; pairs with a truncated side are left out, as the sides differ."""
        from models.text.tokens import END_ID

        rows = encoded.splits[split]
        source, target = rows.sequences["source"], rows.sequences["target"]
        most = config.text.max_length or np.iinfo(np.int64).max
        # A text of exactly the maximum length may have been longer.
        kept = np.flatnonzero((source.counts < most) & (target.counts < most))
        if not len(kept):
            raise UserError(
                f"text.max_length = {most}: every {split} pair has a side of at least as many tokens; "
                "give a larger value, or 0 for no limit"
            )

        def make(indices: np.ndarray) -> Batch:
            own = kept[indices]
            ids, lengths = source.batch(own)
            counts = target.counts[own]
            following = np.zeros((len(own), int(counts.max()) + 1), np.int32)
            for place, (index, count) in enumerate(zip(own, counts, strict=True)):
                following[place, :count] = target.row(int(index))
                following[place, count] = END_ID
            before = np.pad(following[:, :-1], [(0, 0), (1, 0)], constant_values=END_ID)
            arrays = {
                "source": ids,
                "source_lengths": lengths,
                "before": before,
                "following": following,
                "lengths": (counts + 1).astype(np.int32),
            }
            return Batch(arrays, len(own), int(lengths.sum() + counts.sum()))

        return ExampleBatches(
            target.lengths[kept] + source.lengths[kept], make, batch_size=config.training.batch_size
        )
