"""A tiny dataset, a run trained on it, its export, and the command line, shared by the tests of `app`."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.config import TaskConfig, load_config
from app.training.events import Step
from data.samples import reviews as sample_reviews

Command = Callable[..., Result]
Snapshot = Callable[..., dict[str, str]]
Configured = Callable[..., TaskConfig]
Once = Callable[[str, Callable[[Path], object]], Path]

SIZES = {"train": 40, "validation": 12, "test": 14}
TINY = {
    "model.units": 4,
    "model.embedding_size": 4,
    "training.epochs": 1,
    "training.batch_size": 8,
    "model.ngrams": 0,
}


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture(scope="session")
def jsonl() -> Callable[[Path, Sequence[Mapping[str, object]]], None]:
    """Return a function that writes rows as JSON lines."""
    return write_rows


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a few dozen rows of the sample in three files."""
    folder = tmp_path_factory.mktemp("data") / "reviews"
    rows = sample_reviews(0)
    for split, size in SIZES.items():
        write_rows(folder / f"{split}.jsonl", rows[split][:size])
    return folder


@pytest.fixture(scope="session")
def configured() -> Configured:
    """Return a function from `key=value` overrides to the configuration of a tiny model."""

    def configure(*overrides: str) -> TaskConfig:
        return load_config(overrides=[*(f"{key}={value}" for key, value in TINY.items()), *overrides])

    return configure


@pytest.fixture(scope="session")
def command() -> Command:
    """Return a function that runs `textrnn` in this process; a traceback is raised.

    Training writes no report, which takes seconds, unless `--report` is given.
    """

    def textrnn(*arguments: object, stdin: bytes | str | None = None) -> Result:
        if arguments[:1] in (("train",), ("distill",)) and "--report" not in arguments:
            arguments = (*arguments, "--no-report")
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return textrnn


@pytest.fixture(scope="session")
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python in a process of its own."""

    def run(*arguments: object, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *(str(argument) for argument in arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def snapshot() -> Snapshot:
    """Return a function that lists all below some folders: files by their sha256."""

    def listing(*folders: Path) -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for folder in folders
            for path in sorted(folder.rglob("*"))
        }

    return listing


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that lets the first of the processes make a folder, and the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException:
                    shutil.rmtree(folder)
                    raise
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def stop_at() -> Callable[..., dict[str, Any]]:
    """Return a function that gives the arguments with which `train` stops after a step; both count from 1."""

    def arguments(*, epoch: int, step: int) -> dict[str, Any]:
        stops: list[bool] = []

        def watcher(event: object) -> None:
            if isinstance(event, Step) and (event.epoch, event.step) == (epoch, step):
                stops.append(True)

        return {"watcher": watcher, "should_stop": lambda: bool(stops)}

    return arguments


@pytest.fixture(scope="session")
def run(once: Once, reviews: Path, configured: Configured) -> Path:
    """Return a finished run; tests read it, and change copies of it only."""
    from app.train import train

    config = configured(
        "training.epochs=2",
        "training.steps_per_checkpoint=2",
        "training.learning_rate=0.05",
        "text.max_length=0",
        "model.cell=lstm",
        "model.bidirectional=true",
        "model.merge_mode=concat",
        "model.pooling=max_mean",
        "model.dropout=0.1",
    )

    def make(folder: Path) -> None:
        assert train("classification", str(reviews), config, run=folder / "reviews").finished

    return once("run", make) / "reviews"


@pytest.fixture(scope="session")
def exported(once: Once, run: Path) -> Path:
    """Return the run's export: the directory of its first version."""
    from app.export import export

    return once("export", lambda folder: export(run, output=folder / "reviews")) / "reviews" / "1"


NUMBERS = dict(
    zip(
        ("one", "two", "three", "four", "five", "six"),
        ("eins", "zwei", "drei", "vier", "fünf", "sechs"),
        strict=True,
    )
)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pairs: `one two five.` is `fünf zwei eins.` in a language of six words."""
    folder = tmp_path_factory.mktemp("data") / "pairs"
    every = [words for count in (1, 2, 3) for words in itertools.product(NUMBERS, repeat=count)]
    random.Random(0).shuffle(every)
    for split, chosen in (
        ("train", every[:200]),
        ("validation", every[200:224]),
        ("test", every[224:]),
    ):
        write_rows(
            folder / f"{split}.jsonl",
            [
                {
                    "source": f"{' '.join(words)}.",
                    "target": f"{' '.join(NUMBERS[word] for word in reversed(words))}.",
                }
                for words in chosen
            ],
        )
    return folder


@pytest.fixture(scope="session")
def translator(once: Once, pairs: Path) -> Path:
    """Return a run that has learned the language of `pairs`; subwords, a vocabulary for each side."""
    from app.train import train

    config = load_config(
        "translation",
        overrides=[
            "text.vocabulary_size=60",
            "text.max_length=20",
            "model.units=32",
            "model.embedding_size=24",
            "model.dropout=0",
            "model.word_dropout=0",
            "training.batch_size=20",
            "training.epochs=20",
            "training.learning_rate=0.02",
            "training.label_smoothing=0",
            "decoding.beam=3",
            "decoding.length_penalty=0.6",
        ],
    )

    def make(folder: Path) -> None:
        assert train("translation", str(pairs), config, run=folder / "translator").finished

    return once("translator", make) / "translator"


FACTS: dict[str, dict[str, object]] = {
    "tagging": {"tag_scheme": "BIO"},
    "generation": {"documents_end": True},
}
"""Facts of the preprocessing of untrained models, other than subwords."""


@pytest.fixture(scope="session")
def untrained(once: Once) -> Callable[..., Path]:
    """Return a function from a task and overrides to the SavedModel of a model with random weights."""
    import keras
    import numpy as np
    import tensorflow as tf

    from app.artifacts.preprocessing import Preprocessing
    from app.tasks import get_task
    from models.text.tokens import SEQUENCE_TOKENS

    def export(path: Path, task_name: str, overrides: Sequence[str], *, labels: bool) -> None:
        sizes = [f"model.{name}=4" for name in ("units", "embedding_size")]
        config = load_config(task_name, overrides=[*sizes, *overrides])
        task = get_task(task_name)
        words = [*SEQUENCE_TOKENS, *(bytes([c]) for c in range(97, 123)), b"good", b"bad", b" "]
        vocabularies = {
            "vocabulary": words,
            "target_vocabulary": words,
            "characters": words,
            "tags": [b"O", b"B-name", b"I-name"],
        }
        if labels or task_name == "classification":
            vocabularies["labels"] = [b"negative", b"positive"]
        pieces = [(piece, -1.0) for piece in (*(chr(c) for c in range(97, 123)), " g", " good")]
        subwords = dict.fromkeys(("vocabulary", "target_vocabulary"), pieces)
        facts = task.facts.model_validate({"subwords": subwords, **FACTS.get(task_name, {})})
        preprocessing = Preprocessing(vocabularies, facts)
        keras.utils.set_random_seed(0)
        model = task.training.build_model(config, preprocessing, np.ones(len(words), np.int64))
        model.make_portable()
        module = tf.Module()
        signatures = task.predictions.signatures(module, model, preprocessing, config)
        traced = {name: own.function.get_concrete_function() for name, own in signatures.items()}
        module.weights = [of_signature.variables for of_signature in traced.values()]
        tf.saved_model.save(module, str(path), signatures=traced)

    @functools.cache
    def exported(task_name: str, *overrides: str, labels: bool = False) -> Path:
        name = " ".join((task_name, *overrides, *(("labels",) if labels else ())))
        return once(name, lambda path: export(path, task_name, overrides, labels=labels))

    return exported
