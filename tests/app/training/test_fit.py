from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import Result
from trained import PLAIN, Weights, metrics, overrides, weights

from app.artifacts.preprocessing import Preprocessing
from app.artifacts.run import open_run
from app.config import TaskConfig
from app.tasks import get_task
from app.tasks.classification.facts import ClassificationFacts
from app.train import train
from data.encoding import Encoded, EncodedSplit, Sequences
from data.errors import UserError
from models.text.preprocessor import Preprocessor

Command = Callable[..., Result]
Configured = Callable[..., TaskConfig]
Snapshot = Callable[..., dict[str, str]]
StopAt = Callable[..., dict[str, Any]]


ROWS = [
    ("good good good plot", "positive"),
    ("good good", "positive"),
    ("fine plot , fine cast", "positive"),
    ("good cast", "positive"),
    ("dull dull dull dull", "negative"),
    ("dull plot", "negative"),
]


def first_step(config: TaskConfig, initial: Weights, run: Path) -> tuple[list[np.ndarray], float]:
    """Compute the gradients and the loss of one step over all `ROWS` in NumPy.

    The network is: the mean of a row's embeddings, a dense layer, softmax and cross-entropy.
    """
    table, kernel, bias = (value.astype(np.float64) for value in initial)
    opened = open_run(run)
    preprocessing = opened.preprocessing(ClassificationFacts)
    ids, lengths = (
        t.numpy()
        for t in Preprocessor(preprocessing.vocabulary, **opened.config.tokenizing())(
            tf.constant([t for t, _ in ROWS])
        )
    )
    targets = np.array([list(preprocessing.labels).index(label.encode()) for _, label in ROWS])
    smoothing = config.training.label_smoothing
    expected = np.eye(2)[targets] * (1 - smoothing) + smoothing / 2
    row_weights = np.ones(len(ROWS))
    if config.training.class_weights == "balanced":
        row_weights = np.array([len(ROWS) / (2 * np.sum(targets == target)) for target in targets])

    pooled = np.stack([table[row[:n]].mean(axis=0) for row, n in zip(ids, lengths, strict=True)])
    logits = pooled @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = float((-(expected * np.log(probabilities)).sum(axis=1) * row_weights).mean())
    d_logits = (probabilities - expected) * row_weights[:, None] / len(ROWS)
    d_table = np.zeros_like(table)
    for row, n, d_pooled in zip(ids, lengths, d_logits @ kernel.T, strict=True):
        for token in row[:n]:
            d_table[token] += d_pooled / n
    return [d_table, pooled.T @ d_logits, d_logits.sum(axis=0)], loss


ONE_STEP = (
    *PLAIN,
    "model.calibrated=false",
    "training.batch_size=16",
    "training.optimizer=sgd",
    "training.schedule=constant",
    "training.learning_rate=0.5",
    "training.label_smoothing=0",
    "training.class_weights=none",
)


@pytest.fixture(scope="module")
def six_rows(tmp_path_factory: pytest.TempPathFactory, jsonl: Callable[..., None]) -> Path:
    """Return a folder with `ROWS`, to train and to validate."""
    folder = tmp_path_factory.mktemp("six") / "rows"
    for split in ("train", "validation"):
        jsonl(folder / f"{split}.jsonl", [{"text": text, "label": label} for text, label in ROWS])
    return folder


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory, configured: Configured, six_rows: Path) -> Weights:
    """Return the weights before the first step: those of a training that hardly moves."""
    config = configured(*ONE_STEP, "training.learning_rate=1e-30")
    return weights(
        train("classification", str(six_rows), config, run=tmp_path_factory.mktemp("still") / "run").path
    )


@pytest.mark.parametrize(
    "options",
    [
        ("training.clip_norm=0.01",),
        ("training.clip_norm=100",),
        ("training.clip_value=0.02", "training.clip_norm=0.01"),
        ("training.clip_norm=0",),
        ("training.clip_norm=0", "training.class_weights=balanced"),
        ("training.clip_norm=0.01", "training.class_weights=balanced", "training.label_smoothing=0.1"),
    ],
    ids=" ".join,
)
def test_one_step(
    configured: Configured, six_rows: Path, initial: Weights, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Loss, gradient norm before clipping and new weights are those that NumPy computes.

    A token that occurs twice in a batch counts once in the norm, with its sum.
    """
    config = configured(*ONE_STEP, *options)

    run = train("classification", str(six_rows), config, run=tmp_path / "run").path

    expected, loss = first_step(config, initial, run)
    norm = math.sqrt(sum(float((g**2).sum()) for g in expected))
    training = config.training
    if training.clip_value:
        applied = [np.clip(g, -training.clip_value, training.clip_value) for g in expected]
        cut = any(np.abs(g).max() > training.clip_value for g in expected)
    else:
        limit = training.clip_norm or math.inf
        applied = [g * min(1, limit / norm) for g in expected]
        cut = norm > limit
    (line,) = metrics(run)
    assert cut == (options[0] not in ("training.clip_norm=100", "training.clip_norm=0"))
    assert line["loss"] == pytest.approx(loss, rel=1e-5)
    assert line["gradient_norm"] == line["gradient_norm_max"] == pytest.approx(norm, rel=1e-4)
    assert line["clipped_share"] == float(cut)
    after = math.sqrt(sum(float((g**2).sum()) for g in applied))
    assert line["gradient_norm_clipped"] == pytest.approx(after, rel=1e-4)
    by_layer = {"embedding": expected[:1], "head": expected[1:]}
    for name, own in by_layer.items():
        norm = math.sqrt(sum(float((g**2).sum()) for g in own))
        assert line[f"gradient_norm/{name}"] == pytest.approx(norm, rel=1e-4)
    for before, gradient, after in zip(initial, applied, weights(run), strict=True):
        np.testing.assert_allclose(before - after, 0.5 * gradient, atol=2e-7)


def row_weights(folder: Path, targets: list[int], config: TaskConfig) -> np.ndarray:
    """Return the weight in the loss of rows with these labels, each of one token."""
    path = folder / "ids"
    np.ones(len(targets), np.uint16).tofile(path)
    tokens = Sequences(path, np.dtype(np.uint16), np.ones(len(targets), np.int64))
    rows = EncodedSplit({"tokens": tokens}, {"label": np.array(targets, np.int32)})
    encoded = Encoded({}, {}, {"train": rows}, {})
    preprocessing = Preprocessing({}, ClassificationFacts())
    feed = get_task("classification").examples.batches(encoded, "train", preprocessing, config)
    return feed.batch(np.arange(len(targets))).arrays["weights"]


def test_class_weights(configured: Configured, tmp_path: Path) -> None:
    """Balanced, each class has the same weight in all, and a row weighs 1 on average."""
    targets = [0, 0, 0, 0, 0, 0, 2, 2, 1, 0]

    balanced = row_weights(tmp_path, targets, configured("training.class_weights=balanced"))
    none = row_weights(tmp_path, targets, configured("training.class_weights=none"))

    assert none.tolist() == [1] * 10
    sums = [balanced[np.equal(targets, c)].sum() for c in range(3)]
    np.testing.assert_allclose(sums, [10 / 3] * 3, rtol=1e-6)
    assert balanced.dtype == none.dtype == np.float32


def test_class_weights_of_a_class_without_rows(configured: Configured, tmp_path: Path) -> None:
    """A class that no training row has changes nothing."""
    weights = row_weights(tmp_path, [0, 3, 3, 3], configured("training.class_weights=balanced"))

    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)


@pytest.fixture(scope="module")
def exploded(
    tmp_path_factory: pytest.TempPathFactory, command: Command, reviews: Path
) -> tuple[Path, Result]:
    """Return a run whose weights became too large, and what its command printed."""
    run = tmp_path_factory.mktemp("exploded") / "run"
    wild = overrides(
        "model.units=4",
        "model.cell=simple",
        "model.activation=relu",
        "training.learning_rate=1e30",
        "training.clip_norm=0",
        "training.epochs=2",
        "training.batch_size=8",
    )
    return run, command("train", "classification", reviews, "--run", run, *wild)


def test_a_loss_that_is_not_finite(exploded: tuple[Path, Result]) -> None:
    """The training stops, and one line names step, norm and what to try."""
    _, result = exploded
    *_, line = result.stderr.splitlines()

    assert result.exit_code == 1
    assert result.stderr.count("Error: ") == 1
    assert line.startswith("Error: the loss is not finite: ")
    assert " at step 2 of epoch 1, gradient norm " in line
    assert line.endswith(
        "try a lower training.learning_rate than 1e+30, or training.clip_norm=1.0, or model.activation=tanh"
    )


def test_a_run_whose_loss_was_not_finite(command: Command, exploded: tuple[Path, Result]) -> None:
    """Its run is not complete, and no command takes it for a finished one."""
    run, _ = exploded

    assert json.loads((run / "manifest.json").read_text())["complete"] is False
    assert not (run / "model.keras").exists()
    assert command("export", run).exit_code == 1


def test_a_validation_loss_that_is_not_finite(configured: Configured, reviews: Path, tmp_path: Path) -> None:
    """So it is where the last step of an epoch did it, which only the validation shows."""
    config = configured(
        *PLAIN, "training.batch_size=64", "training.schedule=constant", "training.learning_rate=1e30"
    )

    with pytest.raises(UserError, match="not finite"):
        train("classification", str(reviews), config, run=tmp_path / "run")

    assert json.loads((tmp_path / "run/manifest.json").read_text())["complete"] is False


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_learn(configured: Configured, six_rows: Path, tmp_path: Path, optimizer: str) -> None:
    """Each update rule learns six sentences."""
    rate = 1.0 if optimizer == "sgd" else 0.1
    config = configured(
        *PLAIN,
        f"training.optimizer={optimizer}",
        f"training.learning_rate={rate}",
        "training.epochs=20",
        "training.weight_decay=0.001",
        "training.early_stopping_patience=0",
    )

    trained = train("classification", str(six_rows), config, run=tmp_path / "run")

    assert trained.best["validation_accuracy"] == 1
    assert trained.best["validation_loss"] < 0.2
