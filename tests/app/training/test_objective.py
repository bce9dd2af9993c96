from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.config import TaskConfig, load_config
from app.tasks import get_task
from app.tasks.base import Losses
from app.tasks.classification.mixing import Mixing
from app.training.objective import Objective
from models.classifier import Classifier
from models.divergences import symmetric_divergence
from models.network import Network
from models.settings import ClassifierSettings

Batch = dict[str, tf.Tensor]
TASK = get_task("classification")


def randomized(**settings: Any) -> Classifier:
    """Return a tiny classifier whose weights are all random; the same ones in each one."""
    values = {"dropout": 0.0, "word_dropout": 0.0, "cell": "gru", "bidirectional": False, **settings}
    several = values.pop("several_labels", False)
    options = ClassifierSettings(units=3, embedding_size=4, **values)
    model = Classifier(options, vocabulary_size=20, classes=2, several_labels=several)
    model.build()
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(scale=0.7, size=variable.shape))
    return model


def rows(several: bool = False) -> Batch:
    """Return a batch of four rows, with a class or a set of labels each."""
    ids = tf.constant([[2, 5, 7, 3, 2], [9, 0, 0, 0, 0], [4, 4, 6, 0, 0], [8, 3, 0, 0, 0]])
    targets = tf.constant([[True, False], [True, True], [False, False], [False, True]])
    return {
        "ids": ids,
        "lengths": tf.constant([5, 1, 3, 2]),
        "targets": targets if several else tf.constant([0, 1, 1, 0]),
        "weights": tf.constant([[1.0, 2.0]] if several else [1.0, 2.0, 1.0, 0.5]),
    }


def plain(model: Network, batch: Batch) -> Losses:
    """Return the losses of one pass."""
    return TASK.training.losses(model, batch, [], label_smoothing=0.0)


def objective(model: Network, *overrides: str) -> Objective:
    """Return the objective of a configuration."""
    config: TaskConfig = load_config("classification", overrides=overrides)
    return Objective(TASK, model, config, [])


both_kinds = pytest.mark.parametrize("several", [False, True], ids=["classes", "labels"])


@both_kinds
def test_without_terms(several: bool) -> None:
    """By default it is the loss of the task."""
    model = randomized(several_labels=several)
    found = objective(model)

    assert float(found.losses(rows(several)).loss) == float(plain(model, rows(several)).loss)
    assert found.variables == []


@both_kinds
def test_r_drop(several: bool) -> None:
    """It is the mean loss of two passes with other masks, plus their weighted divergence."""
    keras.utils.set_random_seed(3)
    model = randomized(several_labels=several, dropout=0.5)
    seeds = [v for v in model.variables if "seed_generator_state" in v.path]
    before = [v.numpy() for v in seeds]
    first, second = plain(model, rows(several)), plain(model, rows(several))
    for variable, value in zip(seeds, before, strict=True):
        variable.assign(value)
    assert first.scores is not None
    assert second.scores is not None
    unlike = float(symmetric_divergence(first.scores, second.scores))

    found = objective(model, "training.r_drop=3").losses(rows(several))

    assert unlike > 0.01
    expected = float(first.loss + second.loss) / 2 + 3 * unlike
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    assert float(found.correct) == float(first.correct)


@both_kinds
@pytest.mark.parametrize("term", ["adversarial", "virtual_adversarial"])
def test_weights_of_perturbed_passes(several: bool, term: str) -> None:
    """The term is added with its weight, and grows with the norm of the perturbation."""
    model = randomized(several_labels=several)
    without = float(plain(model, rows(several)).loss)

    def added(weight: float, norm: float) -> float:
        options = (f"training.{term}={weight}", f"training.perturbation={norm}")
        return float(objective(model, *options).losses(rows(several)).loss) - without

    assert added(2, 0.1) == pytest.approx(2 * added(1, 0.1), rel=1e-3)
    assert added(1, 0.3) > added(1, 0.1) > 0


@both_kinds
def test_mixup(several: bool) -> None:
    """Logits are those of mixed vectors; the loss is the mixed one of both targets."""
    model = randomized(several_labels=several, layers=0, pooling="mean")
    batch = rows(several)
    table, kernel, bias = (v.numpy() for v in model.trainable_variables)
    partners, shares = np.array([2, 0, 3, 1]), np.array([1.0, 0.25, 0.5, 0.75])
    pooled = np.stack(
        [table[row[:n]].mean(axis=0) for row, n in zip(batch["ids"].numpy(), batch["lengths"], strict=True)]
    )
    mixed = shares[:, None] * pooled + (1 - shares[:, None]) * pooled[partners]
    logits = mixed @ kernel + bias
    weights = batch["weights"].numpy()
    if several:
        targets = batch["targets"].numpy()
        logs = np.where(targets, -np.log1p(np.exp(-logits)), -np.log1p(np.exp(logits)))
        swapped = targets[partners]
        others = np.where(swapped, -np.log1p(np.exp(-logits)), -np.log1p(np.exp(logits)))
        own, other = -(logs * weights).sum(axis=1), -(others * weights).sum(axis=1)
    else:
        targets = batch["targets"].numpy()
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        own = -logs[range(4), targets] * weights
        other = -logs[range(4), targets[partners]] * weights[partners]
    expected = (shares * own + (1 - shares) * other).mean()

    mixing = {"partners": tf.constant(partners, tf.int32), "shares": tf.constant(shares, tf.float32)}
    found = plain(model, {**batch, **mixing})

    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    assert float(found.loss) != pytest.approx(float(plain(model, batch).loss), rel=1e-3)


def test_shares_of_mixup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partners are a permutation; shares have the mean and variance of Beta(α, α); each step has others."""
    seen: list[Mixing] = []

    def of(batch: Batch) -> Mixing:
        seen.append(Mixing(batch["partners"], batch["shares"]))
        return seen[-1]

    monkeypatch.setattr(Mixing, "of", of)
    model = randomized(layers=0, pooling="mean")
    many = {name: tf.tile(v, [500] + [1] * (len(v.shape) - 1)) for name, v in rows().items()}
    found = objective(model, "training.mixup=0.5")
    for _ in range(2):
        found.losses(many)

    first, second = seen
    shares = first.shares.numpy()
    assert sorted(first.partners.numpy()) == list(range(2000))
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / 8, abs=0.01)  # 1 / (4 (2α + 1))
    assert not np.array_equal(shares, second.shares)
    assert not np.array_equal(first.partners, second.partners)
    assert len(found.variables) == 1


def test_all_terms_in_a_graph() -> None:
    """All terms together have gradients for all weights, in a graph."""
    model = randomized(dropout=0.3, word_dropout=0.1, bidirectional=True)
    own = objective(
        model,
        *(
            "training.r_drop=1",
            "training.mixup=0.5",
            "training.virtual_adversarial=1",
            "training.adversarial=1",
        ),
    )

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = own.losses(rows()).loss
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]

    found = tf.function(gradients)()

    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in found)
