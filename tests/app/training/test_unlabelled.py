"""Texts without labels in the virtual adversarial loss of training steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from test_objective import TASK, Batch, both_kinds, objective, randomized, rows
from trained import PLAIN, same, weights

from app.config import TaskConfig
from app.train import train
from app.training.unlabelled import JoinedBatches
from data.batching import Batch as Arrays
from data.batching import ExampleBatches
from data.encoding import Sequences

Configured = Callable[..., TaskConfig]
VIRTUAL = (*PLAIN, "training.virtual_adversarial=1", "training.deterministic=true", "training.epochs=3")


def with_texts(batch: Batch, *texts: list[int]) -> Batch:
    """Return a batch with texts without labels beside its rows."""
    ragged = tf.ragged.constant(texts, tf.int32)
    lengths = tf.cast(ragged.row_lengths(), tf.int32)
    return {**batch, "unlabelled_ids": ragged.to_tensor(), "unlabelled_lengths": lengths}


@pytest.fixture
def joined(tmp_path: Path) -> JoinedBatches:
    """Return batches of 7 examples, by threes, and of 5 texts without labels, by twos."""
    lengths = np.array([1, 2, 3, 1, 2])
    np.arange(10, 10 + lengths.sum(), dtype=np.uint16).tofile(tmp_path / "ids")
    texts = Sequences(tmp_path / "ids", np.dtype(np.uint16), lengths)
    examples = ExampleBatches(
        np.ones(7, int), lambda indices: Arrays({"rows": indices}, len(indices), 0), batch_size=3
    )
    return JoinedBatches(examples, texts, batch_size=2)


def test_batches_depend_on_the_seed_and_the_epoch(joined: JoinedBatches) -> None:
    """Each epoch is the same whenever it is asked for; another seed has another order."""

    def content(seed: int, epoch: int) -> list[Any]:
        batches = [joined.batch(entry).arrays for entry in joined.epoch(seed, epoch)]
        return [{name: array.tolist() for name, array in arrays.items()} for arrays in batches]

    first = [content(1, epoch) for epoch in range(4)]

    assert [content(1, epoch) for epoch in (3, 2, 1, 0)] == first[::-1]
    assert [content(2, epoch) for epoch in range(4)] != first
    assert [len(of) for of in first] == [3] * 4
    assert set(first[0][0]) == {"rows", "unlabelled_ids", "unlabelled_lengths"}


def test_passes_over_the_texts(tmp_path: Path) -> None:
    """All texts are read before any is read again, over several epochs or within one."""
    np.arange(10, 15, dtype=np.uint16).tofile(tmp_path / "ids")
    texts = Sequences(tmp_path / "ids", np.dtype(np.uint16), np.ones(5, np.int64))
    for steps in (2, 7):
        examples = ExampleBatches(np.ones(steps, int), lambda indices: Arrays({}, 1, 0), batch_size=1)
        joined = JoinedBatches(examples, texts, batch_size=1)
        entries = [entry for epoch in range(10) for entry in joined.epoch(0, epoch)]
        read = np.concatenate([joined.batch(entry).arrays["unlabelled_ids"][:, 0] for entry in entries])
        passes = read.reshape(-1, 5)

        assert np.sort(passes).tolist() == [[10, 11, 12, 13, 14]] * (2 * steps)
        assert len({tuple(row) for row in passes}) > 1


def test_evaluation_has_no_other_texts(joined: JoinedBatches) -> None:
    """A whole pass has the labelled examples alone."""
    arrays = [joined.batch(entry).arrays for entry in joined.whole()]

    assert [set(of) for of in arrays] == [{"rows"}] * len(arrays)
    assert sum(len(of["rows"]) for of in arrays) == 7


@both_kinds
def test_the_term_is_a_mean_over_all_rows(several: bool) -> None:
    """Texts without labels that equal the rows leave the mean as it is."""
    model = randomized(several_labels=several, layers=0, pooling="mean")
    batch = rows(several)
    plain = float(TASK.training.losses(model, batch, [], label_smoothing=0.0).loss)
    texts = [row[:n].tolist() for row, n in zip(batch["ids"].numpy(), batch["lengths"].numpy(), strict=True)]

    def term(given: Batch) -> float:
        """Return the mean of the term over many directions from which the iteration starts."""
        own = objective(model, "training.virtual_adversarial=1")
        step = tf.function(lambda: own.losses(given).loss)
        return float(np.mean([float(step()) for _ in range(50)])) - plain

    alone = term(batch)
    assert term(with_texts(batch, *texts)) == pytest.approx(alone, rel=0.02)
    assert term(with_texts(batch, *texts, *texts)) == pytest.approx(alone, rel=0.02)
    assert abs(term(with_texts(batch, [2])) / alone - 1) > 0.02


def test_the_gradient_of_texts_reaches_the_network() -> None:
    """A token that only texts without labels have gets a gradient, and so do all weights."""
    model = randomized(bidirectional=True)
    own = objective(model, "training.virtual_adversarial=1")
    batch = with_texts(rows(), [15, 16, 2], [16])

    def gradients(given: Batch) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = own.losses(given).loss
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]

    table, *others = tf.function(lambda: gradients(batch))()
    without, *_ = tf.function(lambda: gradients(rows()))()

    assert np.abs(table.numpy()[15:17]).max(axis=1).min() > 0
    assert not without.numpy()[15:17].any()
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in others)


def test_resuming_is_exact(
    configured: Configured, reviews: Path, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]
) -> None:
    """An interrupted training reads the same texts as one that is not."""
    (tmp_path / "more.txt").write_text("the plot\nthe acting was a plot\nacting\nplot of the acting\n" * 3)
    text = f"data.unlabelled={tmp_path / 'more.txt'}"

    def run(name: str, *chosen: str, **options: Any) -> Path:
        train("classification", str(reviews), configured(*VIRTUAL, *chosen), run=tmp_path / name, **options)
        return tmp_path / name

    run("stopped", text, **stop_at(epoch=2, step=1))
    run("stopped", text, resume=True)
    whole = run("whole", text)

    assert same(weights(whole), weights(tmp_path / "stopped"))
    assert not same(weights(whole), weights(run("without")))
    assert json.loads((whole / "manifest.json").read_text())["examples"]["unlabelled"] == 12
