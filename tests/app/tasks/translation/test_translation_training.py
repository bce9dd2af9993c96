"""Training of a translator: what it learns, its loss, its metrics, and the epoch that is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from translators import Command, Networks, Opened, epochs, pairs_of, refused, settings, trained, translated

from app.artifacts.run import open_run
from app.prediction.loading import load_keras_model
from app.prediction.predictor import Predictor
from app.tasks.translation.task import TASK
from app.training.network import new_model
from models.text.tokens import END_ID


def test_it_learns(translator: Path, pairs: Path, predictor: Predictor) -> None:
    """Sentences that training did not contain are reversed and translated word for word."""
    learned, unknown = pairs_of(pairs, "train"), pairs_of(pairs, "test")
    assert not set(learned) & set(unknown)

    outputs = translated(predictor, [source for source, _ in unknown])

    found = [text.decode() for text in outputs["text"]]
    references = [target for _, target in unknown]
    assert np.mean([a == b for a, b in zip(found, references, strict=True)]) >= 0.9
    assert min(outputs["score"]) < max(outputs["score"]) < 0


def test_vocabularies(opened: Opened) -> None:
    """Each language has its own subword pieces and its own vocabulary."""
    vocabularies, subwords = opened.preprocessing.vocabularies, opened.preprocessing.facts.subwords

    assert set(vocabularies) == set(subwords) == {"vocabulary", "target_vocabulary"}
    pieces = {name: {piece.encode() for piece, _ in learned} for name, learned in subwords.items()}
    for name, tokens in vocabularies.items():
        assert list(tokens[:3]) == [b"", b"[UNK]", b"[END]"]
        assert set(tokens[3:]) <= pieces[name]
    assert "▁one".encode() in vocabularies["vocabulary"]
    assert any("ü".encode() in token for token in vocabularies["target_vocabulary"])
    assert not any("ü".encode() in token for token in vocabularies["vocabulary"])


def test_metrics_of_an_epoch(translator: Path) -> None:
    """The record of an epoch has validation BLEU, perplexity and accuracy next to the loss."""
    lines = epochs(translator)

    for line in lines:
        assert line["validation_perplexity"] == pytest.approx(math.exp(line["validation_loss"]))
        assert 0 <= line["validation_bleu"] < 100.1
        assert 0 <= line["accuracy"] <= 1
    assert lines[0]["validation_bleu"] < 50 < 90 < lines[-1]["validation_bleu"]
    assert lines[0]["validation_accuracy"] < lines[-1]["validation_accuracy"]


def scripted(monkeypatch: pytest.MonkeyPatch, script: Sequence[tuple[float, float, float, float]]) -> None:
    """Let each validation return the next metrics of a script: loss, BLEU, accuracy, perplexity."""
    names = ("loss", "bleu", "accuracy", "perplexity")
    metrics = iter([dict(zip(names, values, strict=True)) for values in script])
    monkeypatch.setattr(type(TASK.training), "evaluator", lambda *_: lambda: next(metrics))


def test_bleu_selects_the_best_epoch(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the epoch with the highest BLEU is kept; the loss decides only between equal ones."""
    scripted(monkeypatch, [(3, 1, 0.1, 1), (2, 5, 0.2, 1), (1.9, 5, 0.3, 1), (1, 4, 0.9, 1)])

    result = trained(few, tmp_path / "run", "training.epochs=4", "training.batch_size=16")

    assert result.best["epoch"] == 3
    assert [line["best"] for line in epochs(tmp_path / "run")] == [True, True, True, False]


def test_the_lowest_perplexity_is_the_best(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`training.early_stopping_metric=perplexity` keeps the epoch with the lowest perplexity."""
    scripted(monkeypatch, [(3, 1, 0.1, 30), (2, 5, 0.2, 20), (1.9, 9, 0.9, 40), (1, 4, 0.9, 20)])

    result = trained(
        few,
        tmp_path / "run",
        "training.early_stopping_metric=perplexity",
        "training.epochs=4",
        "training.batch_size=16",
    )

    assert result.best["epoch"] == 4
    assert [line["best"] for line in epochs(tmp_path / "run")] == [True, True, False, True]


def test_metrics_that_the_error_offers_are_accepted(command: Command, few: Path, tmp_path: Path) -> None:
    """A metric that translation does not have is refused; each metric that the message names is accepted."""
    words = ["train", "translation", few, "--run", tmp_path / "run"]
    key = "training.early_stopping_metric"
    message = refused(command, *words, *settings(f"{key}=macro_f1"))
    assert message.startswith(f"{key} = 'macro_f1': expected one of ")
    listed = message.partition("expected one of ")[2]
    names = [name for name in ("accuracy", "bleu", "loss", "perplexity", "span_f1") if name in listed]
    assert names == ["accuracy", "bleu", "loss", "perplexity"]
    assert not (tmp_path / "run").exists()

    for name in names:
        result = trained(few, tmp_path / name, f"{key}={name}", "training.batch_size=16")

        assert result.finished
        assert f"validation_{name}" in result.best


def test_label_smoothing_applies_to_training_only(networks: Networks, few: Path) -> None:
    """The validation loss is the mean cross-entropy of the reference tokens, the end token included."""
    for name, precision in (("multiplicative", 0.05), ("additive", 1e-5)):
        opened = Opened(networks.runs[name])
        assert opened.run.config.training.label_smoothing == 0.1
        nats = [
            -opened.log_probabilities(source, [*opened.target_ids(target), END_ID])
            for source, target in pairs_of(few, "validation")
        ]

        found = epochs(networks.runs[name])[-1]["validation_loss"]

        assert found == pytest.approx(np.concatenate(nats).mean(), abs=precision)


def test_smoothed_loss(opened: Opened, pairs: Path) -> None:
    """Label smoothing spreads a share of the target over the whole vocabulary; padding has no loss."""
    source, target = zip(*pairs_of(pairs, "test")[:8], strict=True)
    batch = opened.translator.pair(tf.constant(source), tf.constant(target))
    logits = opened.model(batch["source"], batch["source_lengths"], batch["before"])
    log_p = tf.nn.log_softmax(logits).numpy()
    expected = {0.0: 0.0, 0.2: 0.0}
    columns = batch["following"].numpy(), batch["lengths"].numpy()
    for row, (following, length) in enumerate(zip(*columns, strict=True)):
        for step in range(length):
            for share in expected:
                of_target = log_p[row, step, following[step]]
                expected[share] -= (1 - share) * of_target + share * log_p[row, step].mean()
    tokens = int(batch["lengths"].numpy().sum())
    assert tokens < batch["following"].shape[0] * batch["following"].shape[1]

    for share, nats in expected.items():
        found = TASK.training.losses(opened.model, batch, [], label_smoothing=share)

        assert float(found.loss) == pytest.approx(nats / tokens, rel=1e-5)
        assert float(found.count) == tokens
    assert expected[0.2] > 2 * expected[0.0]


def test_mixed_precision(networks: Networks) -> None:
    """Training computes in bfloat16, except for sums of attention weights; the finished run in float32."""
    opened = Opened(networks.runs["multiplicative"])
    config = opened.run.config
    counts = np.ones(len(opened.preprocessing.vocabulary), np.int64)
    in_training = new_model(TASK, config, opened.preprocessing, counts)
    assert config.training.mixed_precision

    for model, dtype in ((opened.model, tf.float32), (in_training, tf.bfloat16)):
        state = model.encode(*opened.source_ids("one two."))
        logits, state = model.step(tf.constant([END_ID]), state)
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
        assert logits.dtype == state["hidden"][0][0].dtype == state["attentional"].dtype == dtype
        assert state["coverage"].dtype == state["attention"].dtype == tf.float32


def test_word_vectors_initialize_the_source_embedding(few: Path, tmp_path: Path) -> None:
    """A file of word vectors gives the first weights of the source embedding, not of the target embedding."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("one 1 2 3 4\neins 5 6 7 8\n")
    options = ("text.tokens=word", f"model.embeddings={vectors}", "training.learning_rate=1e-9")
    trained(few, tmp_path / "run", *options, "training.batch_size=16")
    opened = Opened(tmp_path / "run")
    source = opened.model.source_embedding.embeddings.numpy()
    target = opened.model.target_embedding.embeddings.numpy()

    one = source[list(opened.preprocessing.vocabulary).index(b"one")]
    np.testing.assert_allclose(one, [1, 2, 3, 4], atol=1e-5)
    assert abs(target[opened.target.index(b"eins")]).max() < 1


def test_a_resumed_training(few: Path, tmp_path: Path, stop_at: Callable[..., dict[str, Any]]) -> None:
    """A stopped and resumed training ends at the same weights, bit for bit, with every kind of randomness."""
    options = (
        *("training.r_drop=1", "training.ema=0.9", "model.locked_dropout=true"),
        "training.deterministic=true",
        "training.epochs=2",
        "text.tokens=word",
        "model.cell=gru",
        "model.dropout=0.3",
        "model.recurrent_dropout=0.2",
        "model.word_dropout=0.2",
    )

    assert trained(few, tmp_path / "whole", *options).finished
    assert not trained(few, tmp_path / "run", *options, **stop_at(epoch=2, step=1)).finished
    assert trained(few, tmp_path / "run", *options, resume=True).finished

    first, second = (load_keras_model(open_run(tmp_path / name)).get_weights() for name in ("whole", "run"))
    assert len(first) == len(second) > 10
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    names = ("loss", "validation_loss", "validation_bleu", "gradient_norm")
    assert [[e[n] for n in names] for e in epochs(tmp_path / "whole")] == [
        [e[n] for n in names] for e in epochs(tmp_path / "run")
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("text.max_length=1", "text.max_length = 1: every train pair has a side of at least as many tokens"),
        ("model.layers=0", "model.layers = 0: expected "),
        ("text.vocabulary_size=10", "a subword vocabulary "),
    ],
)
def test_a_configuration_that_cannot_be_learned(
    command: Command, few: Path, tmp_path: Path, override: str, message: str
) -> None:
    """It is refused with a one-line error, and no run directory is left."""
    words = ["train", "translation", few, "--run", tmp_path / "run", *settings(override)]

    assert refused(command, *words).startswith(message)
    assert not (tmp_path / "run").exists()
