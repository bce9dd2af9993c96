"""The signature `score` of taggers: the loss of given tags."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tagging_data import sample_rows

import app.prediction.loading
from app.artifacts.run import open_run
from app.prediction.loading import load_keras_model
from app.tasks.tagging.examples import word_encoder
from app.tasks.tagging.facts import TaggingFacts
from app.tasks.tagging.training import ARGUMENTS

Rows = list[list[str]]
RUNS = ("joint", "crf")


def padded(rows: Rows, width: int = 0) -> tf.Tensor:
    """Return rows with empty strings after their end: string [rows, width]."""
    width = max([width, *map(len, rows)])
    return tf.constant([row + [""] * (width - len(row)) for row in rows], tf.string, [len(rows), width])


def score(path: Path, tokens: Rows, tags: Rows, *, width: int = 0) -> dict[str, Any]:
    """Return the loss and the number of scored tokens of each row."""
    call = app.prediction.loading.load_predictor(path).signatures["score"]
    outputs = call(tokens=padded(tokens, width), tags=padded(tags, width))
    return {name: value.numpy().tolist() for name, value in outputs.items()}


def emissions(path: Path, tokens: list[str]) -> tuple[Any, np.ndarray, list[str]]:
    """Return the network of a run, its scores of each tag for a row: float [tokens, tags], and the tags."""
    run = open_run(path)
    preprocessing = run.preprocessing(TaggingFacts)
    network = load_keras_model(run)
    arrays = word_encoder(preprocessing, run.config)(tf.ragged.constant([tokens]))
    outputs = network(*(arrays[name] for name in ARGUMENTS))
    return (
        network,
        outputs["emissions"].numpy()[0],
        [tag.decode() for tag in preprocessing.vocabularies["tags"]],
    )


def log_sum(values: np.ndarray) -> Any:
    """Return log of the sum of exp."""
    return values.max() + np.log(np.exp(values - values.max()).sum())


def test_loss_of_a_softmax(joint: Path) -> None:
    """Without a CRF the loss of a row is the cross-entropy of its tags."""
    rows = sample_rows("test", 3)
    found = score(joint, [row["tokens"] for row in rows], [row["tags"] for row in rows])

    for row, loss in zip(rows, found["loss"], strict=True):
        _, scores, names = emissions(joint, row["tokens"])
        ids = [names.index(tag) for tag in row["tags"]]
        expected = sum(log_sum(own) - own[i] for own, i in zip(scores.astype(np.float64), ids, strict=True))
        assert loss == pytest.approx(expected, rel=1e-4)
    assert found["scored"] == [len(row["tokens"]) for row in rows]


def test_loss_of_a_crf(crf: Path) -> None:
    """With a CRF the loss is log of the sum over all sequences of tags, minus the score of the given."""
    (row,) = sample_rows("test", 1)
    tokens, tags = row["tokens"][:3], row["tags"][:3]
    network, scores, names = emissions(crf, tokens)
    moves, first, last = (
        weight.numpy().astype(np.float64)
        for weight in (network.crf.transitions, network.crf.start, network.crf.end)
    )

    def total(ids: tuple[int, ...]) -> float:
        value = first[ids[0]] + last[ids[-1]] + sum(scores[i, tag] for i, tag in enumerate(ids))
        return float(value + sum(moves[a, b] for a, b in itertools.pairwise(ids)))

    every = np.array([total(ids) for ids in itertools.product(range(len(names)), repeat=3)])
    given = total(tuple(names.index(tag) for tag in tags))

    found = score(crf, [tokens], [tags])
    assert found["loss"][0] == pytest.approx(log_sum(every) - given, rel=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_a_batch_and_padding_change_nothing(name: str, request: pytest.FixtureRequest) -> None:
    """The loss of a row is the same alone, in a batch, in another order, and with more padding."""
    path = request.getfixturevalue(name)
    rows = sample_rows("test", 6)
    tokens, tags = ([row[key] for row in rows] for key in ("tokens", "tags"))
    together = score(path, tokens, tags)

    assert score(path, tokens, tags, width=50)["loss"] == pytest.approx(together["loss"], rel=1e-5)
    backwards = score(path, tokens[::-1], tags[::-1])
    assert backwards["loss"][::-1] == pytest.approx(together["loss"], rel=1e-5)
    assert backwards["scored"][::-1] == together["scored"]
    for own, of_tags, loss in zip(tokens, tags, together["loss"], strict=True):
        assert score(path, [own], [of_tags])["loss"] == pytest.approx([loss], rel=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_tags_that_the_model_does_not_know(name: str, request: pytest.FixtureRequest) -> None:
    """A row with an unknown tag has no loss and no scored tokens, nor has a row without tokens."""
    path = request.getfixturevalue(name)
    tokens = [["Play", "Old", "Paris"], ["Play", "Paris"], [], ["Play"]]
    tags = [["O", "B-zzz", "O"], ["O", "O"], [], [""]]

    found = score(path, tokens, tags)

    assert found["scored"] == [0, 2, 0, 0]
    assert found["loss"] == [0, pytest.approx(score(path, [tokens[1]], [tags[1]])["loss"][0]), 0, 0]
    assert found["loss"][1] > 0


def test_tags_of_another_width(joint: Path) -> None:
    """Tags may be padded to another width than tokens; tags after the last token are ignored."""
    call = app.prediction.loading.load_predictor(joint).signatures["score"]
    tokens = padded([["Play", "Paris"]], 4)
    (expected,) = call(tokens=tokens, tags=padded([["O", "O"]], 4))["loss"].numpy()

    for tags in (["O", "O"], ["O", "O", "B-zzz", "", "", ""]):
        found = call(tokens=tokens, tags=padded([tags]))
        assert found["loss"].numpy() == pytest.approx(expected, rel=1e-5)
        assert found["scored"].numpy() == [2]
