"""The linear model of the features of tokens beside a tagger: fitted, joined, exported, resumed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tagging_data import NO_DROPOUT, PLAIN, TINY, Jsonl, best_line
from trained import same, weights

from app.artifacts.run import open_run
from app.config import load_config
from app.evaluate import evaluate
from app.export import export
from app.prediction.loading import load_keras_model
from app.tasks.tagging.branches import Branches
from app.tasks.tagging.features import number_of_features
from app.train import train
from app.verify import verify
from data.encoding import Sequences
from models.text.word_features import word_features

StopAt = Callable[..., dict[str, Any]]

WORDS = ("red", "green", "blue", "gold")
OWN = (*TINY, *PLAIN, *NO_DROPOUT, "training.deterministic=true", "training.batch_size=8")


def sentences(split: str, size: int) -> list[dict[str, object]]:
    """Return sentences of words whose tag is the word before: no word alone tells its own."""
    generator = random.Random(split)
    rows: list[dict[str, object]] = []
    for _ in range(size):
        tokens = generator.choices(WORDS, k=generator.randint(2, 5))
        rows.append({"tokens": tokens, "tags": ["first", *tokens[:-1]]})
    return rows


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, jsonl: Jsonl) -> Path:
    """Return a folder of such sentences."""
    folder = tmp_path_factory.mktemp("colours") / "data"
    for split, size in (("train", 60), ("validation", 12), ("test", 12)):
        jsonl(folder / f"{split}.jsonl", sentences(split, size))
    return folder


def run_on(colours: Path, run: Path, *overrides: str, **options: Any) -> Path:
    """Train on the sentences; return the run."""
    config = load_config("tagging", overrides=[*OWN, *overrides])
    train("tagging", str(colours), config, run=run, **options)
    return run


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    """Return a run with features of tokens beside a network that sees each word alone."""
    return run_on(colours, tmp_path_factory.mktemp("wide") / "run", "training.epochs=2")


def test_neighbours_are_learned(wide: Path, colours: Path, tmp_path: Path) -> None:
    """With features of neighbours all tags are right, and without them few."""
    without = run_on(colours, tmp_path / "run", "training.epochs=2", "model.token_features=0")

    assert evaluate(wide, with_baseline=False)["accuracy"] == 1
    assert best_line(wide)["validation_accuracy"] == 1
    assert best_line(wide)["validation_recurrent_loss"] > 2 * best_line(wide)["validation_loss"]
    assert "validation_recurrent_loss" not in best_line(without)
    assert evaluate(without, with_baseline=False)["accuracy"] < 0.7


def test_few_features_are_the_frequent_ones(colours: Path, tmp_path: Path) -> None:
    """With one feature, that of most tokens, the linear model can't tell the tags."""
    run = run_on(colours, tmp_path / "run", "model.token_features=1")
    model = load_keras_model(open_run(run))

    assert model.token_features.entries == 1
    assert evaluate(run, with_baseline=False)["accuracy"] < 0.7


def test_an_export_has_the_features(wide: Path, colours: Path) -> None:
    """An export verifies and evaluates as its run does."""
    exported = export(wide, output=wide.parent / "export")
    found = evaluate(exported, data=str(colours), with_baseline=False)

    assert found["accuracy"] == 1
    assert verify(exported).passed


def test_resuming_is_exact(wide: Path, colours: Path, stop_at: StopAt, tmp_path: Path) -> None:
    """A training that was interrupted ends with the same weights, those of the branches included."""
    run = run_on(colours, tmp_path / "run", "training.epochs=2", **stop_at(epoch=1, step=3))
    config = load_config("tagging", overrides=[*OWN, "training.epochs=2"])
    assert train("tagging", str(colours), config, run=run, resume=True).finished

    assert same(weights(run), weights(wide))
    assert load_keras_model(open_run(wide)).branch_weights.numpy().min() >= 0


@pytest.mark.parametrize("crf", [True, False], ids=["crf", "softmax"])
def test_the_weights_fit_best(wide: Path, crf: bool) -> None:
    """No other weights of the branches have a smaller loss on the split that they are chosen on."""
    generator = np.random.default_rng(0)
    model = load_keras_model(open_run(wide))
    if not crf:
        model.crf = None
    lengths = np.array([4, 2], np.int32)
    tags = generator.integers(0, 5, (2, 4)).astype(np.int32)
    right = np.eye(5, dtype=np.float32)[tags]
    noise = generator.normal(size=(2, 2, 4, 5)).astype(np.float32)
    outputs = {"recurrent": right + noise[0], "features": right + noise[1], "label": np.array([1, 0])}
    arrays = {"tags": tags, "lengths": lengths}
    branches = Branches(
        model, lambda batch, own: {"loss": model.tag_losses(own, batch["tags"], batch["lengths"])}
    )

    def loss(weights: np.ndarray) -> float:
        model.branch_weights.assign(weights)
        emissions = model.joined(outputs["recurrent"], outputs["features"])
        return float(np.sum(model.tag_losses({"emissions": emissions}, tags, lengths)))

    (found,) = branches.join([arrays], [outputs])
    chosen = model.branch_weights.numpy().copy()

    assert set(found) == {"loss", "label"}
    assert found["loss"].sum() == pytest.approx(loss(chosen), rel=1e-4)
    others = [np.maximum(chosen + move, 0) for move in ([0.2, 0], [-0.2, 0], [0, 0.2], [0, -0.2])]
    assert all(loss(chosen) <= loss(other) + 1e-4 for other in others if (other != chosen).any())


def test_sentences_without_tokens_have_no_features(tmp_path: Path) -> None:
    """The number of features is that of the sentences with tokens, and never more than is wanted."""
    features = word_features(tf.constant(WORDS)).numpy()
    ids = np.array([0, 1, 0, 1, 2], np.int32)
    ids.tofile(tmp_path / "ids")
    several, dense = (
        Sequences(tmp_path / "ids", ids.dtype, np.array(lengths)) for lengths in ([2, 0, 2, 1, 0], [2, 2, 1])
    )
    number = number_of_features(features, several, 3, 1000)

    # All features of "red green" occur twice: two tokens of 21, of which they share some.
    assert 30 < number <= 42 + 10
    assert number_of_features(features, dense, 3, 1000) == number
    assert number_of_features(features, several, 3, 10) == 10
