"""Training of taggers: what a run stores, metrics that select the best epoch, networks, resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagging_data import (
    PLAIN,
    TAGGED,
    TINY,
    Command,
    Jsonl,
    best_line,
    evaluated,
    facts_of,
    sample_rows,
    settings,
    trained,
    unlabelled,
)

from app.artifacts.run import open_run
from app.config import load_config
from app.prediction.loading import load_keras_model
from app.tasks import get_task
from app.train import train
from app.training.selection import Selection, selecting_metric
from data.samples import tags as sample_tags


def test_files_of_a_run(joint: Path, crf: Path) -> None:
    """A run stores words, characters, tags and their scheme; and labels, if the data has them."""
    tags = {tag for row in sample_tags(0)["train"] for tag in row["tags"]}
    labels = {row["label"] for row in sample_tags(0)["train"]}

    assert set((joint / "tags.txt").read_text().split()) == tags
    assert facts_of(joint)["tag_scheme"] == "BIO"
    assert set((joint / "labels.txt").read_text().split()) == labels
    assert "don't" not in (joint / "vocabulary.txt").read_text().splitlines()
    assert "n't" in (joint / "vocabulary.txt").read_text().splitlines()
    assert {"A", "a"} <= set((joint / "characters.txt").read_text().splitlines())
    assert not (crf / "labels.txt").exists()


def test_it_learns(joint: Path) -> None:
    """After one epoch a network finds spans, which one that always predicts O does not."""
    metrics = best_line(joint)

    assert metrics["validation_span_f1"] > 0.2
    assert metrics["validation_label_accuracy"] > 0.5


# Metrics that select the best epoch


@pytest.fixture(scope="module")
def plain(treebank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on plain tags."""
    return trained(treebank, tmp_path_factory.mktemp("plain") / "run", *PLAIN)


@pytest.fixture(scope="module")
def labelled(jsonl: Jsonl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on plain tags and labels."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = [{"tokens": ["a", word], "tags": ["DET", tag], "label": tag} for word, tag in WORDS]
    for split in ("train", "validation"):
        jsonl(folder / "data" / f"{split}.jsonl", rows)
    return trained(folder / "data", folder / "run", *PLAIN, "training.early_stopping_metric=exact_match")


WORDS = (("dog", "NOUN"), ("bark", "VERB"))
OF_ALL = ("loss", "accuracy")
OF_LABELS = ("label_accuracy", "exact_match")
AVAILABLE = {
    "plain": OF_ALL,
    "labelled": (*OF_ALL, *OF_LABELS),
    "crf": (*OF_ALL, "span_f1"),
    "joint": (*OF_ALL, "span_f1", *OF_LABELS),
}


@pytest.mark.parametrize("name", AVAILABLE)
def test_metrics_that_select(name: str, request: pytest.FixtureRequest) -> None:
    """Each metric that the data has is computed in validation, and can select the best epoch.

    The loss of the recurrent branch alone, which is computed too, cannot.
    """
    run = open_run(request.getfixturevalue(name))
    validation = {
        key.removeprefix("validation_"): value
        for key, value in best_line(run.path).items()
        if key.startswith("validation_")
    }
    task = get_task("tagging")

    available = task.training.metrics(run.preprocessing(task.facts))

    assert validation.pop("recurrent_loss") > validation["loss"]
    assert {metric.name for metric in available} == set(AVAILABLE[name]) == set(validation)
    for metric in available:
        config = load_config("tagging", overrides=[f"training.early_stopping_metric={metric.name}"])
        chosen = selecting_metric(available, config)
        better = validation | {metric.name: validation[metric.name] + (1 if metric.higher_is_better else -1)}
        assert chosen == metric
        selection = Selection()
        assert selection.add(0, chosen, validation)
        assert selection.add(1, chosen, better)
        assert not selection.add(2, chosen, validation)


@pytest.mark.parametrize(
    ("labels", "metric", "available"),
    [
        (False, "span_f1", "accuracy, loss, token_f1"),
        (False, "label_accuracy", "accuracy, loss, token_f1"),
        (True, "span_f1", "accuracy, label_accuracy, exact_match, loss"),
    ],
)
def test_metrics_of_plain_tags(
    command: Command, treebank: Path, jsonl: Jsonl, tmp_path: Path, labels: bool, metric: str, available: str
) -> None:
    """A metric that plain tags do not have is refused before training, with the metrics that they have."""
    rows = [{"tokens": ["a", word], "tags": ["DET", tag], "label": tag} for word, tag in WORDS * 4]
    for split in ("train", "validation"):
        jsonl(tmp_path / "data" / f"{split}.jsonl", rows)
    data = tmp_path / "data" if labels else treebank

    _refused(command, data, tmp_path / "run", metric, available)


@pytest.mark.parametrize("metric", ["label_accuracy", "exact_match"])
def test_metrics_of_labels(command: Command, tmp_path: Path, metric: str) -> None:
    """A metric of labels is refused before training, where examples have none."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(TAGGED * 8)
    (tmp_path / "data" / "validation.jsonl").write_text(TAGGED)

    _refused(command, tmp_path / "data", tmp_path / "run", metric, "accuracy, span_f1, loss")


def _refused(command: Command, data: Path, run: Path, metric: str, available: str) -> None:
    options = settings(f"training.early_stopping_metric={metric}")

    result = command("train", "tagging", data, "--run", run, *options)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: training.early_stopping_metric = {metric!r}: expected one of {available}, "
        "the metrics that this task has on this data\n"
    )
    assert not run.exists()


# Every kind of network


# The runs of the fixtures are a GRU with filters over characters, and an LSTM with a CRF.
NETWORKS = {
    "simple": ("model.cell=simple", "model.character_features=convolution", "model.bidirectional=false"),
    "lstm": (
        *("model.character_features=none", "model.merge_mode=sum", "model.recurrent_dropout=0.2"),
        *("training.batch_size=4", "training.label_smoothing=0.1"),
    ),
    "spans": (
        *("model.token_features=1024", "model.tag_scheme=bioes", "model.crf=false"),
        *("model.character_features=none", "training.exchange_spans=0.5"),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(command: Command, jsonl: Jsonl, tmp_path: Path, name: str) -> None:
    """Each network trains, is saved, and has the same metrics after loading."""
    jsonl(tmp_path / "data/train.jsonl", sample_rows("train", 10))
    jsonl(tmp_path / "data/validation.jsonl", sample_rows("validation", 6))
    labels = {row["label"] for row in sample_rows("train", 10)}
    assert {row["label"] for row in sample_rows("validation", 6)} <= labels

    run = trained(tmp_path / "data", tmp_path / "run", "model.layers=1", *NETWORKS[name])
    metrics = evaluated(command, run, "--split", "validation")

    best = best_line(run)
    for key in ("loss", "accuracy", "span_f1", "label_accuracy", "exact_match"):
        assert metrics[key] == pytest.approx(best[f"validation_{key}"], rel=1e-4)
    assert 0 < metrics["loss"] < 10


# Examples without tokens


EMPTY = {"tokens": [], "tags": []}
NO_TOKENS = "the {split} split has no tokens, only empty examples; give examples with tokens and tags"


def test_an_example_without_tokens(command: Command, jsonl: Jsonl, tmp_path: Path) -> None:
    """An example without tokens among others changes nothing in training, and evaluation counts it."""
    rows = unlabelled(sample_rows("train", 6))
    folders = {"without": rows, "with": [EMPTY, *rows, EMPTY]}
    runs = {}
    for name, examples in folders.items():
        for split in ("train", "validation", "test"):
            jsonl(tmp_path / name / f"{split}.jsonl", examples)
        runs[name] = trained(tmp_path / name, tmp_path / f"{name} run", *PLAIN)

    values = ("loss", "accuracy", "validation_loss", "validation_accuracy", "validation_span_f1")
    assert [best_line(runs["with"])[key] for key in values] == [
        best_line(runs["without"])[key] for key in values
    ]
    found = {name: evaluated(command, run) for name, run in runs.items()}
    assert found["with"] == found["without"] | {"dataset": "with", "examples": 8}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_tokens(command: Command, jsonl: Jsonl, tmp_path: Path, split: str) -> None:
    """A split whose examples have no tokens is refused before training."""
    rows = {"train": unlabelled(sample_rows("train", 6)), "validation": unlabelled(sample_rows("test", 2))}
    for name, examples in (rows | {split: [EMPTY] * 3}).items():
        jsonl(tmp_path / "data" / f"{name}.jsonl", examples)

    result = command("train", "tagging", tmp_path / "data", "--run", tmp_path / "run", *settings(*TINY))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {NO_TOKENS.format(split=split)}\n"
    assert not (tmp_path / "run").exists()


def test_held_out_examples_without_tokens(command: Command, jsonl: Jsonl, tmp_path: Path) -> None:
    """If the hold-out leaves a split with empty examples only, training is refused, and no run is created."""
    # All empty examples have the same hash, so that they are in one split together.
    jsonl(tmp_path / "data" / "train.jsonl", [*unlabelled(sample_rows("train", 1)), *[EMPTY] * 9])
    messages = []
    for fraction in (0.1, 0.3, 0.5, 0.7, 0.9):
        options = settings(*TINY, f"data.validation_fraction={fraction}")

        result = command("train", "tagging", tmp_path / "data", "--run", tmp_path / "run", *options)

        assert (result.exit_code, result.stdout) == (1, "")
        assert not (tmp_path / "run").exists()
        messages.append(result.stderr)

    assert all(message.startswith("Error: ") and message.count("\n") == 1 for message in messages)
    assert any("split has no tokens, only empty examples" in message for message in messages)


# Resuming


@pytest.mark.parametrize("features", ["convolution", "none"])
def test_resumed(jsonl: Jsonl, tmp_path: Path, stop_at: Callable[..., dict[str, Any]], features: str) -> None:
    """Training that is stopped in its second epoch and resumed ends with the same weights, bit for bit."""
    jsonl(tmp_path / "data/train.jsonl", sample_rows("train", 24))
    jsonl(tmp_path / "data/validation.jsonl", sample_rows("validation", 4))
    overrides = [
        *("training.deterministic=true", "training.epochs=2", "training.batch_size=4", "model.layers=0"),
        *("model.crf=true", f"model.character_features={features}", "model.word_dropout=0.1"),
    ]
    if features == "none":
        overrides += ["model.token_features=512", "model.tag_scheme=bioes", "training.exchange_spans=0.5"]
        overrides += ["training.adversarial=1", "training.ema=0.9"]
    config = load_config("tagging", overrides=[*TINY, *overrides])
    data = str(tmp_path / "data")
    whole = train("tagging", data, config, run=tmp_path / "whole")
    stopped = train("tagging", data, config, run=tmp_path / "run", **stop_at(epoch=2, step=2))
    again = train("tagging", data, config, run=tmp_path / "run", resume=True)

    assert (whole.finished, stopped.finished, again.finished) == (True, False, True)
    first, second = (load_keras_model(open_run(run.path)).get_weights() for run in (whole, again))
    assert len(first) == len(second) > 0
    assert all(map(np.array_equal, first, second))
