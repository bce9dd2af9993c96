"""Norms of gradients by layer and gate, and what is said of exploding and vanishing ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from trained import epoch_lines, metrics

from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig, load_config
from app.tasks import get_task
from app.tasks.classification.facts import ClassificationFacts
from app.train import train
from app.training.events import Message
from app.training.gradients import GradientNorms, exploding, vanishing
from app.training.state import Totals, log
from models.text.tokens import SPECIAL_TOKENS

Configured = Callable[..., TaskConfig]
Jsonl = Callable[..., None]

CELLS = {
    "simple": [],
    "gru": ["update", "reset", "candidate"],
    "lstm": ["input", "forget", "candidate", "output"],
    "mingru": [],
}


def network(*overrides: str) -> Any:
    """Return a small classifier."""
    config = load_config(
        "classification", overrides=["model.units=3", "model.embedding_size=5", "model.ngrams=0", *overrides]
    )
    vocabularies = {"vocabulary": [*SPECIAL_TOKENS, b"a"], "labels": [b"no", b"yes"]}
    preprocessing = Preprocessing(vocabularies, ClassificationFacts())
    return get_task("classification").training.build_model(config, preprocessing, np.ones(3, np.int64))


@pytest.mark.parametrize("cell", CELLS)
def test_norms_by_layer_and_gate(cell: str) -> None:
    """The layers have the whole gradient between them, and the gates of one that of its recurrent kernel."""
    model = network(f"model.cell={cell}", "model.bidirectional=true", "model.layers=2")
    random = np.random.default_rng(0)
    variables = model.trainable_variables
    gradients = [random.normal(size=variable.shape).astype(np.float32) for variable in variables]
    norms = GradientNorms(model, steps=1000)

    measured, *values = norms.measure([tf.constant(g) for g in gradients], tf.constant(100)).numpy()

    found = dict(zip(norms.names, values, strict=True))
    layers = [f"recurrent/{way}_{i}" for way in ("forward", "backward") for i in range(2)]
    expected = [
        "embedding",
        "head",
        *layers,
        *(f"{layer}/{gate}" for layer in layers for gate in CELLS[cell]),
    ]
    assert measured == 1
    assert sorted(found) == sorted(expected)
    whole = sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients)
    assert sum(found[name] ** 2 for name in ("embedding", "head", *layers)) == pytest.approx(whole, rel=1e-5)
    for variable, gradient in zip(variables, gradients, strict=True):
        layer = next((name for name in layers if name in variable.path), "")
        if variable.name == "recurrent_kernel":
            for i, gate in enumerate(CELLS[cell]):
                own = gradient[:, 3 * i : 3 * (i + 1)]
                assert found[f"{layer}/{gate}"] == pytest.approx(np.linalg.norm(own), rel=1e-5)


def test_most_steps_measure_nothing() -> None:
    """Only one step of 50 is measured, or one of an epoch that has fewer."""
    model = network()
    gradients = [tf.ones(variable.shape) for variable in model.trainable_variables]
    for steps, measured in ((1000, [0, 50, 100]), (7, [0, 7, 14])):
        norms = GradientNorms(model, steps)
        found = [i for i in range(101) if norms.measure(gradients, tf.constant(i))[0]]
        assert found[:3] == measured
    assert not norms.measure(gradients, tf.constant(1)).numpy().any()


def test_a_resumed_training_has_the_same_norms(
    reviews: Path, configured: Configured, stop_at: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """The norms of an epoch that was interrupted are those of an uninterrupted one."""
    config = configured(
        f"data.directory={tmp_path / 'data'}", "training.deterministic=true", "model.cell=gru"
    )
    whole = train("classification", str(reviews), config, run=tmp_path / "whole").path
    run = tmp_path / "run"
    assert not train("classification", str(reviews), config, run=run, **stop_at(epoch=1, step=3)).finished
    train("classification", str(reviews), config, run=run, resume=True)

    assert epoch_lines(run) == epoch_lines(whole)
    assert metrics(run)[-1]["gradient_norm/recurrent/forward_0/update"] > 0


def test_the_usual_norm() -> None:
    """It is the geometric mean of all norms except the largest."""
    totals = Totals(steps=4, log_norm=math.log(1 * 4 * 2 * 1000), largest_norm=1000)
    assert totals.usual_norm() == pytest.approx(2)
    assert Totals(steps=1, log_norm=math.log(3), largest_norm=3).usual_norm() == 3
    assert Totals(steps=2, log_norm=2 * log(0.0), largest_norm=0).usual_norm() < 1e-20


RECORD = {"epoch": 1, "gradient_norm_max": 1.0, "clipped_share": 0.0}


def test_exploding_gradients(configured: Configured) -> None:
    """A norm that is large and unusual, or always large, is named with what to try."""
    config = configured("training.clip_norm=0", "model.cell=simple")

    assert exploding({**RECORD, "gradient_norm_max": 99.0}, 0.1, config) == ""
    assert exploding({**RECORD, "gradient_norm_max": 150.0}, 50.0, config) == ""
    sentence = exploding({**RECORD, "gradient_norm_max": 5321.0}, 0.9, config)
    assert sentence == (
        "exploding gradients: their norm rose to 5.32e+03, 0.9 is usual; if the loss does not fall steadily, "
        "try training.clip_norm=1.0, or a lower training.learning_rate than 0.003, or model.cell=gru"
    )
    record = {**RECORD, "gradient_norm_max": 150.0, "clipped_share": 1.0}
    sentence = exploding(record, 120.0, configured("model.cell=gru"))
    assert "clipped in 100% of the steps" in sentence
    assert "clip_norm" not in sentence
    assert "model.cell" not in sentence


def test_vanishing_gradients(configured: Configured) -> None:
    """A norm of nearly 0, and a lowest layer that gets nothing of what the highest gets, are named."""
    config = configured("model.cell=simple", "model.layers=3", "model.pooling=last")
    low, high = "gradient_norm/recurrent/forward_0", "gradient_norm/recurrent/forward_2"

    assert vanishing({**RECORD, low: 0.1, high: 1.0}, 0.1, config) == ""
    assert "try model.cell=gru or model.pooling=max_mean" in vanishing(RECORD, 1e-7, config)
    sentence = vanishing({**RECORD, low: 1e-6, high: 0.5}, 0.1, config)
    assert sentence.startswith("vanishing gradients: 1e-06 is the norm of recurrent/forward_0, 5e-01 that of")
    assert sentence.endswith("try fewer model.layers")


def messages(data: Path, config: TaskConfig, run: Path) -> list[str]:
    """Train, and return what was said of gradients."""
    said: list[str] = []

    def watcher(event: object) -> None:
        if isinstance(event, Message) and "gradients" in event.text:
            said.extend(event.text.splitlines())

    train("classification", str(data), config, run=run, watcher=watcher)
    return said


@pytest.fixture(scope="module")
def long_texts(tmp_path_factory: pytest.TempPathFactory, jsonl: Jsonl) -> Path:
    """Return texts of 60 words."""
    folder, random = tmp_path_factory.mktemp("data") / "long", np.random.default_rng(0)
    for split in ("train", "validation"):
        rows = [(" ".join(random.choice(list("abc"), 60)), label) for label in ("yes", "no") * 8]
        jsonl(folder / f"{split}.jsonl", [{"text": text, "label": label} for text, label in rows])
    return folder


def test_a_text_that_is_forgotten_is_named_once(
    long_texts: Path, configured: Configured, tmp_path: Path
) -> None:
    """A simple layer whose last state is read forgets the first half of a long text; means do not."""
    options = ("model.cell=simple", "model.bidirectional=false", "training.epochs=2")
    forgets = configured(*options, "model.pooling=last", "model.activation=sigmoid")
    (sentence,) = messages(long_texts, forgets, tmp_path / "forgets")

    assert sentence.startswith("vanishing gradients: tokens 30 or more before the end of a text have hardly")
    assert sentence.endswith("try model.cell=gru or model.activation=tanh or model.pooling=max_mean")
    assert not messages(long_texts, configured(*options, "model.pooling=mean"), tmp_path / "remembers")


def test_a_loss_that_explodes_is_named(long_texts: Path, configured: Configured, tmp_path: Path) -> None:
    """Without a limit, a steep recurrence has large gradients."""
    config = configured(
        "model.cell=simple",
        "model.activation=relu",
        "model.bidirectional=false",
        "model.pooling=last",
        "training.clip_norm=0",
        "training.learning_rate=0.1",
        "training.epochs=4",
    )
    said = messages(long_texts, config, tmp_path / "explodes")

    (sentence,) = (own for own in said if own.startswith("exploding gradients: their norm rose to "))
    assert "try training.clip_norm=1.0, or a lower training.learning_rate than 0.1" in sentence
