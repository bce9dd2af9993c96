"""A language model of the texts of another task: what it learns from, and its configuration."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import new_directory
from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig
from app.config.keys import get_config_class
from app.tasks.base import Task
from app.tasks.generation.facts import GenerationFacts
from app.tasks.tokenizing import VOCABULARY
from app.training.encode import UNLABELLED, TrainingData
from app.training.pretrained import LANGUAGE_MODELS
from data.encoding import Sequences
from data.streams import StreamBatches, documents
from models.text.tokens import END_ID, SEQUENCE_TOKENS

VERSION = 1
SAMPLES = 2000
"""Of the sampled softmax."""
LARGE_VOCABULARY = 4 * SAMPLES
"""Number of tokens from which the softmax is sampled."""
VALIDATION_TOKENS = 100_000
"""Approximate number of tokens of the validation texts, whose loss is never sampled, after an epoch."""


@dataclass(frozen=True)
class LanguageModelData:
    """All that the training of a language model reads."""

    config: TaskConfig
    """Of the language model; the number of epochs is open."""
    preprocessing: Preprocessing[GenerationFacts]
    train: StreamBatches
    validation: StreamBatches
    token_counts: np.ndarray
    """int64 [vocabulary]"""
    tokens: int
    """Number of training tokens."""
    texts: dict[str, int]
    """Number of texts of each split."""


def language_model_data(found: TrainingData, task: Task[Any, Any], config: TaskConfig) -> LanguageModelData:
    """Return the training and the unlabelled texts of a task for a language model, and the validation texts.

    Tokens are those of the task, so that each has a vector. An end token follows each text.

    Args:
        found: encoded texts.
        task: says which sequences have the vocabulary of the embedding.
        config: resolved, of the task.
    """
    examples = task.examples
    names = [name for name in examples.read_sequences if examples.vocabulary_of(name, config) == VOCABULARY]
    own = list(found.preprocessing.vocabulary)
    vocabulary = [*SEQUENCE_TOKENS, *(token for token in own if token not in SEQUENCE_TOKENS)]
    ids = {token: i for i, token in enumerate(vocabulary)}
    mapping = np.array([ids[token] for token in own], np.int32)
    own_ids = examples.vocabulary_ids(found.encoded, found.preprocessing, config)
    if own_ids is not None:
        mapping = mapping[own_ids]

    def sequences(*splits: str) -> Sequences:
        found_splits = [found.encoded.splits[split] for split in splits if split in found.encoded.splits]
        parts = [split.sequences[name] for split in found_splits for name in names]
        return _with_ends(found.directory / f"{splits[0]}-texts-{VERSION}", parts, mapping)

    train, validation = sequences("train", UNLABELLED), sequences("validation")
    validated = int(np.searchsorted(np.cumsum(validation.counts), VALIDATION_TOKENS)) + 1
    of_model = language_model_config(config, len(vocabulary))

    def batches(texts: Sequences, most: int | None = None) -> StreamBatches:
        counts = texts.counts[:most]
        bounds = documents(counts, np.zeros(len(counts), bool))
        training: Any = of_model.training
        return StreamBatches(
            texts, bounds, streams=training.batch_size, window=training.sequence_length, start_id=END_ID
        )

    facts = found.preprocessing.facts
    subwords = {name: pieces for name, pieces in facts.subwords.items() if name == VOCABULARY}
    return LanguageModelData(
        of_model,
        Preprocessing(
            {VOCABULARY: vocabulary},
            GenerationFacts(subwords=subwords, word_rules=facts.word_rules, documents_end=True),
        ),
        batches(train),
        batches(validation, validated),
        train.occurrences(len(vocabulary)),
        int(train.counts.sum()),
        {"train": len(train), "validation": min(len(validation), validated)},
    )


def language_model_config(config: TaskConfig, vocabulary_size: int) -> TaskConfig:
    """Return the configuration of a language model whose weights fit a network.

    Args:
        config: of the network.
        vocabulary_size: number of tokens.
    """
    model, training, tokens = config.model, config.training, config.tokenizing()["tokens"]
    return get_config_class(LANGUAGE_MODELS).model_validate(
        {
            "seed": config.seed,
            "data": {"directory": config.data.directory},
            "text": {
                **config.text.model_dump(include={"lowercase", "vocabulary_size", "min_count"}),
                "tokens": tokens,
            },
            "model": {
                "cell": model.cell,
                "units": model.units,
                "layers": max(model.layers, 1),
                "activation": model.activation,
                "embedding_size": model.embedding_size,
                "dropout": 0.3,
                "word_dropout": 0.0,
                "tie_embeddings": True,
            },
            "training": {
                "batch_size": 32,
                "sequence_length": 64,
                "learning_rate": 2e-3,
                "sampled_softmax": SAMPLES if vocabulary_size >= LARGE_VOCABULARY else 0,
                **training.model_dump(
                    include={"deterministic", "kernels", "mixed_precision", "steps_per_checkpoint"}
                ),
            },
        }
    )


def _with_ends(path: Path, parts: list[Sequences], mapping: np.ndarray) -> Sequences:
    """Return sequences of other ids, with an end token after each text, from the folder that keeps them."""
    ids, counts = path / "ids", np.concatenate([part.counts for part in parts]) + 1
    if not path.exists():
        # If another process was quicker, its file is the same.
        with (
            contextlib.suppress(FileExistsError),
            new_directory(path) as partial,
            (partial / "ids").open("wb") as file,
        ):
            for part in parts:
                for tokens, lengths in part.chunks():
                    np.insert(mapping[tokens], np.cumsum(lengths), END_ID).tofile(file)
    return Sequences(ids, mapping.dtype, counts)
