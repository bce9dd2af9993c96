from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from tensorflow.python.framework.config import is_op_determinism_enabled
from trained import PLAIN, overrides, same, weights

from app.artifacts.run import open_run
from app.config import TaskConfig
from app.prediction.loading import load_keras_model
from app.tasks.classification.facts import ClassificationFacts
from app.train import default_run, train, training_steps
from app.training.epochs import FEWEST_EPOCHS, MOST_EPOCHS, resolve_epochs
from app.training.events import Epoch, Event, Message, Step
from data.errors import UserError
from models.text.preprocessor import Preprocessor

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


def test_vocabulary_and_labels(run: Path, reviews: Path) -> None:
    """The vocabulary is that of the training rows, the most frequent words first; the labels are sorted."""
    rows = [json.loads(line) for line in (reviews / "train.jsonl").read_text().splitlines()]
    lines = (run / "vocabulary.txt").read_text().splitlines()
    pieces = Preprocessor(open_run(run).preprocessing(ClassificationFacts).vocabulary)(
        tf.constant([row["text"] for row in rows])
    )[0].numpy()
    counts = Counter(pieces[pieces > 1].tolist())

    assert lines[:2] == ["", "[UNK]"]
    assert not (pieces == 1).any()
    assert sorted(counts) == list(range(2, len(lines)))
    assert [counts[i] for i in range(2, len(lines))] == sorted(counts.values(), reverse=True)
    assert (run / "labels.txt").read_text() == "negative\npositive\n"


def test_output(command: Command, reviews: Path, tmp_path: Path) -> None:
    """The run's path goes to stdout, for scripts; the course of the training to stderr."""
    tiny = overrides(*PLAIN, "training.epochs=2", "model.embedding_size=4")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", *tiny)

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'run'}\n"
    assert "epoch 1/2  loss 0." in result.stderr
    assert "epoch 2/2  loss 0." in result.stderr
    assert "done; best epoch on the validation split: epoch " in result.stderr


def test_name_of_a_run(
    command: Command, configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--run` a run is named for task, dataset and time, below `runs`."""
    monkeypatch.chdir(tmp_path)
    now = datetime(2024, 2, 3, 4, 5, 6)

    trained = train("classification", str(reviews), configured(*PLAIN), now=now)

    assert trained.path == default_run("classification", "reviews", now)
    assert trained.path == Path("runs/classification-reviews-20240203-040506")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [trained.path.name]


def test_two_runs_in_a_second(
    configured: Configured, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainings that begin in the same second never share a run."""
    monkeypatch.chdir(tmp_path)
    now = datetime(2024, 2, 3, 4, 5, 6)
    first = train("classification", str(reviews), configured(*PLAIN), now=now)
    before = first.path.stat().st_mtime_ns, (first.path / "manifest.json").stat().st_mtime_ns

    with pytest.raises(UserError, match="exists"):
        train("classification", str(reviews), configured(*PLAIN), now=now)

    assert before == (first.path.stat().st_mtime_ns, (first.path / "manifest.json").stat().st_mtime_ns)


def test_epochs_fit_the_text(configured: Configured) -> None:
    """Where no number of epochs is given, a short text is read more often than a long one."""
    lengths = [0, 1_000, 10**6, 2 * 10**6, 4 * 10**6, 10**7, 10**9]

    config = configured("training.epochs=0", "seed=5")
    resolved = [resolve_epochs(config, tokens, to_learn_from=15 * 10**6) for tokens in lengths]

    epochs = [config.training.epochs for config in resolved]
    assert epochs == sorted(epochs, reverse=True)
    assert len(set(epochs)) >= 4
    assert (epochs[0], epochs[-1]) == (MOST_EPOCHS, FEWEST_EPOCHS)
    assert resolved[0] == configured(f"training.epochs={MOST_EPOCHS}", "seed=5")
    assert resolve_epochs(config, 4 * 10**6, to_learn_from=32 * 10**6).training.epochs == 8


def test_given_epochs_stay(configured: Configured) -> None:
    """A number of epochs that is given is kept, whatever the text."""
    config = configured("training.epochs=7")

    for tokens in (10, 10**9):
        assert resolve_epochs(config, tokens, to_learn_from=10**7) == config


def test_validation_rows_are_held_out(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Without a validation file a share of the training rows is held out, equal texts on one side."""
    (tmp_path / "data").mkdir()
    lines = (reviews / "train.jsonl").read_text()
    (tmp_path / "data/train.jsonl").write_text(lines * 3)

    counts = {}
    for share in (0.1, 0.4):
        config = configured(*PLAIN, f"data.validation_fraction={share}")
        trained = train("classification", str(tmp_path / "data"), config, run=tmp_path / f"run{share}")
        counts[share] = json.loads((trained.path / "manifest.json").read_text())["examples"]

    for rows in counts.values():
        assert rows["train"] + rows["validation"] == 120
        assert rows["train"] % 3 == 0
    assert 0 < counts[0.1]["validation"] < counts[0.4]["validation"] < 80


def test_the_seed_decides(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Another seed gives other weights, in every layer."""
    found = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        config = configured(*PLAIN, "training.deterministic=true", "model.dropout=0.2", f"seed={seed}")
        found[name] = weights(train("classification", str(reviews), config, run=tmp_path / name).path)

    assert same(found["first"], found["again"])
    assert not any(map(np.array_equal, found["first"], found["other"]))


def test_word_vectors_start_the_embedding(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Words of a GloVe file begin with its vectors, all others where the seed puts them."""
    (tmp_path / "glove.txt").write_text("plot 1 2 3 4\nacting -1 -2 -3 -4.5\nxyzzy 9 9 9 9\n")
    still = (*PLAIN, "training.learning_rate=1e-30", "training.schedule=constant")
    tables = {}
    for name, file in (("with", tmp_path / "glove.txt"), ("without", "")):
        config = configured(*still, f"model.embeddings={file}")
        run = train("classification", str(reviews), config, run=tmp_path / name).path
        tables[name] = load_keras_model(open_run(run)).embedding.embeddings.numpy()
    vocabulary = list(open_run(tmp_path / "with").preprocessing(ClassificationFacts).vocabulary)
    given = {vocabulary.index(b"plot"): [1, 2, 3, 4], vocabulary.index(b"acting"): [-1, -2, -3, -4.5]}

    for index in range(len(vocabulary)):
        assert tables["with"][index].tolist() == given.get(index, tables["without"][index].tolist())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("plot 1 2 3\nacting 1 2 3\n", "model.embedding_size is 4; give --set model.embedding_size=3"),
        ("2 4\nplot 1 2 3 nan\n", "glove.txt:2: the vector has the value nan"),
        ("xyzzy 1 2 3 4\n", "none of its words is in the vocabulary"),
        ("plot 1 2 three 4\n", "glove.txt:1: not a word vector"),
    ],
)
def test_word_vectors_that_do_not_fit(
    command: Command, reviews: Path, tmp_path: Path, content: str, said: str
) -> None:
    """Vectors of another size, or of other words, are refused before a run is made."""
    file = tmp_path / "glove.txt"
    file.write_text(content)
    tiny = overrides(*PLAIN, "model.embedding_size=4", f"model.embeddings={file}")

    result = command("train", "classification", reviews, "--run", tmp_path / "run", *tiny)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["glove.txt"]


# Metrics


@pytest.mark.parametrize("metric", ["span_f1", "label_accuracy", "exact_match"])
def test_a_metric_that_the_data_does_not_have(
    command: Command, jsonl: Callable[..., None], tmp_path: Path, metric: str
) -> None:
    """It is refused before training begins: tags without spans, and data without labels."""
    rows = [{"tokens": ["a", word], "tags": ["DET", "NOUN"]} for word in ("dog", "cat", "cow", "hen")]
    for split in ("train", "validation"):
        jsonl(tmp_path / f"data/{split}.jsonl", rows)
    keys = overrides(f"training.early_stopping_metric={metric}", "data.tag_column=tags", "model.layers=0")

    result = command("train", "tagging", tmp_path / "data", "--run", tmp_path / "run", *keys)

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: training.early_stopping_metric = {metric!r}: expected one of accuracy, loss, "
        "the metrics that this task has on this data\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_epoch_line_has_the_metrics_of_the_task(
    command: Command, jsonl: Callable[..., None], tmp_path: Path
) -> None:
    """The line of an epoch shows the validation metric that selects, also if it is the task's own."""
    rows = [{"tokens": ["in", word], "tags": ["O", "B-place"]} for word in ("Rome", "Bonn", "Oslo", "Bern")]
    for split in ("train", "validation"):
        jsonl(tmp_path / f"data/{split}.jsonl", rows)
    keys = overrides(
        "training.early_stopping_metric=span_f1",
        "data.tag_column=tags",
        "model.layers=0",
        "training.epochs=1",
    )

    result = command("train", "tagging", tmp_path / "data", "--run", tmp_path / "run", *keys)

    assert result.exit_code == 0
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("epoch 1/1  "))
    for title in ("loss 0.", "val loss ", "val accuracy ", "val span F1 ", "gradient norm ", "clipped "):
        assert title in line


# From Python


def test_nothing_is_printed(configured: Configured, reviews: Path, tmp_path: Path, capfd: Any) -> None:
    """`train` itself prints nothing; a watcher receives each step, each epoch, and a message."""
    events: list[Event] = []

    train("classification", str(reviews), configured(*PLAIN), run=tmp_path / "run", watcher=events.append)

    assert capfd.readouterr() == ("", "")
    steps = [(event.epoch, event.step, event.steps) for event in events if isinstance(event, Step)]
    assert steps == [(1, step, 5) for step in range(1, 6)]
    assert [event.number for event in events if isinstance(event, Epoch)] == [1]
    assert isinstance(events[0], Message)


def test_what_is_global_is_restored(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Random generators, the dtype policy and deterministic operations are as before, signals untouched."""
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    config = configured(*PLAIN, "training.deterministic=true", "training.mixed_precision=true")
    during: list[bool] = []

    def watcher(event: Event) -> None:
        during.append(is_op_determinism_enabled())

    train("classification", str(reviews), config, run=tmp_path / "run", watcher=watcher)

    assert all(during)
    assert not is_op_determinism_enabled()
    after = random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name
    assert after == before
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_an_iterator_that_is_closed(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Closing the iterator saves the state: training is resumed after the last step that it gave."""
    config = configured(*PLAIN, "training.deterministic=true", "training.steps_per_checkpoint=0")
    whole = train("classification", str(reviews), config, run=tmp_path / "whole")
    steps = training_steps("classification", str(reviews), config, run=tmp_path / "run")
    for event in steps:
        if isinstance(event, Step) and event.step == 3:
            steps.close()
    assert not is_op_determinism_enabled()
    events: list[Event] = []

    found = train(
        "classification", str(reviews), config, run=tmp_path / "run", resume=True, watcher=events.append
    )

    assert [event.step for event in events if isinstance(event, Step)] == [4, 5]
    assert same(weights(found.path), weights(whole.path))


def test_a_watcher_that_fails(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """Its error reaches the caller, and the state is saved."""

    def watcher(event: Event) -> None:
        if isinstance(event, Step):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train("classification", str(reviews), configured(*PLAIN), run=tmp_path / "run", watcher=watcher)

    assert (tmp_path / "run/checkpoints/state.npz").exists()
