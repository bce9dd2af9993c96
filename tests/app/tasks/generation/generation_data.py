"""Data, settings and small functions that the tests of generation share."""

from __future__ import annotations

import functools
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from click.testing import Result

from app.artifacts.run import open_run
from app.config import TaskConfig, load_config
from app.prediction.loading import load_keras_model
from app.prediction.predictor import Predictor
from app.tasks.generation.facts import GenerationFacts
from app.tasks.generation.sampling import PIECE_TOKENS, Ending, Options, generate, stream
from models.text.tokenize import tokenize
from models.text.tokens import END_ID

Command = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]

SMALL = {
    "model.cell": "gru",
    "model.units": 16,
    "model.embedding_size": 8,
    "model.dropout": 0,
    "model.weight_dropout": 0,
    "training.schedule": "constant",
    "training.learning_rate": 0.03,
    "training.epochs": 3,
    "training.batch_size": 4,
    "training.sequence_length": 25,
}
WORDS_OF = {
    "sea": ["ship", "wave", "salt", "gull", "tide"],
    "wood": ["tree", "moss", "fern", "deer", "bark"],
}
HARD = {
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪",
    "right to left": "السلام عليكم",
    "unknown characters": "ж☂\x07\x00",
    "blank": " \n\t ",
    "long": "Anna: the cat is old. " * 455,
    "not UTF-8": os.fsdecode(b"Anna \xff\xfe caf\xe9 \x80"),
}


def configured(*overrides: str) -> TaskConfig:
    """Return the configuration of a tiny model."""
    return load_config(
        "generation", overrides=[*(f"{key}={value}" for key, value in SMALL.items()), *overrides]
    )


def play() -> str:
    """Return a text of similar lines."""
    chance = random.Random(0)
    lines = []
    for name in ("Anna", "Ben", "Zoë") * 40:
        thing, kind = chance.choice(["cat", "dog", "tree"]), chance.choice(["old", "red", "big"])
        lines.append(f"{name}: The {thing} is {kind}; isn't it? ({kind.upper()}, no?)\n")
    return "".join(lines)


def greek() -> str:
    """Return a text in which most characters have two bytes, and some four."""
    chance = random.Random(0)
    return "".join(chance.choice(["το παιδί ", "η θάλασσα 🌊 ", "ο ήλιος, "]) for _ in range(150))


def labelled_rows() -> list[dict[str, str]]:
    """Return examples whose words depend on their label."""
    chance = random.Random(0)
    return [
        {"text": " ".join(chance.choice(words) for _ in range(chance.randint(3, 7))) + ".", "label": label}
        for _ in range(60)
        for label, words in WORDS_OF.items()
    ]


@dataclass(frozen=True)
class Model:
    """A run, with everything that tests look at."""

    path: Path
    data: Path
    messages: str
    """Stderr of its training."""
    predictor: Predictor

    @functools.cached_property
    def network(self) -> keras.Model:
        """The network of the run."""
        return load_keras_model(open_run(self.path))

    @functools.cached_property
    def vocabulary(self) -> list[bytes]:
        """The tokens."""
        return list(open_run(self.path).preprocessing(GenerationFacts).vocabulary)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text of known characters."""
        return [self.vocabulary.index(character.encode()) for character in text]

    def document(self, text: str | bytes) -> list[int]:
        """Return the token ids of a document of known words, and the end token."""
        pieces = tokenize(tf.constant([text]), lines=True).to_list()[0]
        return [*(self.vocabulary.index(piece) for piece in pieces), END_ID]

    def logits(self, ids: list[int], label: int | None = None) -> np.ndarray:
        """Return the scores of each token of a document, read in one piece: float [tokens, V]."""
        labels = None if label is None else tf.constant([label])
        values: np.ndarray = self.network(tf.constant([[END_ID, *ids[:-1]]]), None, labels)[0].numpy()
        return values[0].astype(np.float64)

    def nats(self, ids: list[int], label: int | None = None) -> np.ndarray:
        """Return -log p of each token of a document: float [tokens]."""
        logits = self.logits(ids, label)
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(ids)), ids]


Models = Callable[[str], Model]

SETTINGS = {
    "char": (),
    "word": ("text.tokens=word", "text.lowercase=true", "data.label_column=label", "training.epochs=12"),
    "byte": ("text.tokens=byte", "model.cell=lstm", "model.layers=2"),
    "subword": ("text.tokens=subword", "text.vocabulary_size=60", "model.cell=simple"),
}
KINDS = list(SETTINGS)


def texts(model: Model | Predictor, prompts: list[str], **options: Any) -> list[str]:
    """Return the texts that are generated for prompts."""
    predictor = model.predictor if isinstance(model, Model) else model
    return [made.text for made in generate(predictor, prompts, Options(**{"length": 40, **options}))]


def streamed(model: Model, prompt: str, *, tokens: int = PIECE_TOKENS, **options: Any) -> list[str]:
    """Return the pieces of a text that is generated piece by piece."""
    return list(stream(model.predictor, prompt, Options(**{"length": 40, **options}), tokens=tokens))


def ending(model: Model, prompt: str, *, tokens: int = PIECE_TOKENS, **options: Any) -> Ending:
    """Return how a text that is generated piece by piece ends."""
    pieces = stream(model.predictor, prompt, Options(**{"length": 40, **options}), tokens=tokens)
    while True:
        try:
            next(pieces)
        except StopIteration as stopped:
            found: Ending = stopped.value
            return found
