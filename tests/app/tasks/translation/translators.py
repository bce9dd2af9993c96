"""Translators for the tests of translation: tiny ones to train, and a loaded one to take apart."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from click.testing import Result

from app.artifacts.run import Run, open_run
from app.config import TaskConfig, load_config
from app.prediction.loading import load_keras_model
from app.prediction.predictor import Predictor
from app.tasks.translation.task import TASK
from app.tasks.translation.translator import Translator
from app.train import train
from app.training.events import TrainedRun
from models.text.tokenize import tokenize
from models.text.tokens import END_ID, PADDING_ID, UNKNOWN_ID

Command = Callable[..., Result]
Pair = tuple[str, str]

TINY = (
    "text.vocabulary_size=60",
    "text.max_length=20",
    "model.units=4",
    "model.embedding_size=4",
    "training.epochs=1",
    "training.batch_size=8",
    "training.learning_rate=0.05",
    "decoding.beam=2",
)
NETWORKS = {
    "multiplicative": ("training.mixed_precision=true",),
    "additive": (
        "text.tokens=word",
        "text.lowercase=true",
        "text.shared=true",
        "model.attention=additive",
        "model.input_feeding=false",
        "model.cell=gru",
        "model.merge_mode=sum",
        "model.layers=2",
    ),
    "bytes": (
        "text.tokens=byte",
        "text.max_length=40",
        "model.attention=none",
        "model.cell=simple",
        "model.bidirectional=false",
    ),
    "characters": (
        "text.tokens=char",
        "text.max_length=40",
        "text.shared=true",
        "model.attention=none",
        "model.input_feeding=false",
        "model.tie_embeddings=false",
    ),
}
"""One network of each kind."""
HARD = {
    "empty": b"",
    "blank": b" \t\n ",
    "one word": b"three",
    "known": b"two six one.",
    "long": b"one five six. " * 3334,
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪 one 😀😀".encode(),
    "Hebrew": "אחד שתיים, three".encode(),
    "Chinese": "一二三四五。".encode(),
    "not UTF-8": b"two \xff\xfe caf\xe9 \x80",
    "control characters": b"one\x00two\x01\x7f\r\nthree",
    "of the vocabulary": "[END] [UNK] ▁one".encode(),
}
SHORT = [text for name, text in HARD.items() if name != "long"]


def tiny(*overrides: str) -> TaskConfig:
    """Return the configuration of a tiny translator."""
    return load_config("translation", overrides=[*TINY, *overrides])


@contextmanager
def eagerly() -> Iterator[None]:
    """Run functions step by step: tracing a graph takes longer than a handful of steps."""
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though the `tf.config")  # of tf.data, which traces anyway
            yield
    finally:
        tf.config.run_functions_eagerly(False)


def trained(data: Path, run: Path, *overrides: str, resume: bool = False, **watched: Any) -> TrainedRun:
    """Train a tiny translator."""
    with eagerly():
        return train("translation", str(data), tiny(*overrides), run=run, resume=resume, **watched)


def pairs_of(folder: Path, split: str) -> list[Pair]:
    """Return the pairs of a split."""
    lines = (folder / f"{split}.jsonl").read_text().splitlines()
    return [(row["source"], row["target"]) for row in map(json.loads, lines)]


def epochs(run: Path) -> list[dict[str, Any]]:
    """Return the record of each epoch."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "best" in line]


@dataclass(frozen=True)
class Networks:
    """Runs of several networks, their exports, and what the exports compute in another process."""

    runs: dict[str, Path]
    exports: dict[str, Path]
    imported: set[str]
    """Top-level modules that the other process imported."""
    alone: dict[str, Any]
    """Outputs for the hard texts, by network."""


class Opened:
    """A run, its model and its translator."""

    def __init__(self, path: Path) -> None:
        """Load it."""
        self.run: Run = open_run(path)
        self.model: keras.Model = load_keras_model(self.run)
        self.preprocessing = self.run.preprocessing(TASK.facts)
        self.translator = Translator(self.model, self.preprocessing, self.run.config)
        shared = "target_vocabulary" not in self.preprocessing.vocabularies
        self.target = list(self.preprocessing.vocabularies["vocabulary" if shared else "target_vocabulary"])

    def source_ids(self, text: str | bytes) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the token ids of a source [1, S], and their number [1]."""
        return self.translator.source(tf.constant([text]))

    def target_ids(self, text: str) -> list[int]:
        """Return the token ids of a reference translation, looked up one by one."""
        options = {**self.translator.target.options, "max_length": 0}
        known = {token: i for i, token in enumerate(self.target)}
        return [known.get(token, UNKNOWN_ID) for token in tokenize([text], **options)[0].numpy()]

    def log_probabilities(self, text: str | bytes, ids: Sequence[int]) -> np.ndarray:
        """Return the log-probability of each token of a translation: float [T]."""
        source, lengths = self.source_ids(text)
        logits = self.model(source, lengths, tf.constant([[END_ID, *ids[:-1]]]))[0]
        chosen: np.ndarray = tf.gather(tf.nn.log_softmax(logits), tf.constant(ids), batch_dims=1).numpy()
        return chosen

    def steps(
        self, text: str, choose: Callable[[int, np.ndarray], int], most: int
    ) -> tuple[list[int], float]:
        """Decode step by step.

        Returns:
            the chosen tokens, the end token included, and Σ log min(coverage, 1) after the last one.
        """
        source, lengths = self.source_ids(text)
        state = self.model.encode(source, lengths)
        ids: list[int] = []
        while len(ids) < most and END_ID not in ids:
            logits, state = self.model.step(tf.constant([ids[-1] if ids else END_ID]), state)
            ids.append(choose(len(ids), logits[0].numpy()))
        return ids, float(np.log(np.minimum(state["coverage"][0], 1)).sum())

    def greedy(self, text: str) -> list[int]:
        """Return the tokens of a translation that takes the most probable one at each step."""
        allowed = np.ones(len(self.target), bool)
        allowed[[PADDING_ID, UNKNOWN_ID]] = False
        most = 2 * int(self.source_ids(text)[1][0]) + 10
        return self.steps(text, lambda _, logits: int(np.where(allowed, logits, -np.inf).argmax()), most)[0]


def translated(predictor: Predictor, texts: Sequence[str | bytes]) -> dict[str, np.ndarray]:
    """Return the outputs of the main signature."""
    encoded = [text.encode() if isinstance(text, str) else text for text in texts]
    return predictor.run_texts("serving_default", encoded)


def searched(
    predictor: Predictor, texts: Sequence[str | bytes], width: int, alpha: float = 0.6, beta: float = 0.0
) -> dict[str, np.ndarray]:
    """Return the outputs of the signature `search`."""
    outputs = predictor.signatures["search"](
        text=tf.constant(texts),
        width=tf.constant(width),
        length_penalty=tf.constant(alpha),
        coverage_penalty=tf.constant(beta),
    )
    return {name: value.numpy() for name, value in outputs.items()}


def settings(*overrides: str) -> list[str]:
    """Return the options of a tiny configuration for the command line."""
    return [word for override in (*TINY, *overrides) for word in ("--set", override)]


def refused(command: Command, *words: object) -> str:
    """Return the one-line error of a command, without `Error: `."""
    result = command(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    return error.removeprefix("Error: ")
