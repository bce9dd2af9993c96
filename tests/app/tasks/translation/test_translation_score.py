"""The signature `score`: the loss of given translations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from translators import NETWORKS, SHORT, Networks, Opened, pairs_of

from app.prediction.loading import load_predictor
from app.prediction.predictor import Predictor
from models.text.tokens import END_ID, UNKNOWN_ID


def scored(predictor: Predictor, pairs: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Return the outputs of the signature for pairs in one batch."""
    source, target = zip(*pairs, strict=True)
    outputs = predictor.signatures["score"](text=tf.constant(source), target=tf.constant(target))
    return {name: value.numpy() for name, value in outputs.items()}


def some(pairs: Path) -> list[tuple[str, str]]:
    """Return pairs of every kind: correct, wrong, out of vocabulary, empty, and longer than the limit."""
    return [
        *pairs_of(pairs, "test")[:8],
        ("one two.", "drei vier vier."),
        ("one.", "Ωμέγα eins."),
        ("one.", ""),
        ("", "eins."),
        ("one two " * 20, "eins zwei " * 20),
    ]


def test_the_loss_is_that_of_the_model(predictor: Predictor, opened: Opened, pairs: Path) -> None:
    """`loss` is the summed cross-entropy of the target tokens and the end token, `tokens` their number."""
    chosen = some(pairs)
    found = scored(predictor, chosen)

    for i, (source, target) in enumerate(chosen):
        nats = -opened.log_probabilities(source, [*opened.target_ids(target), END_ID])
        assert found["tokens"][i] == len(nats)
        assert found["loss"][i] == pytest.approx(nats.sum(), rel=1e-4, abs=1e-5)
    assert found["tokens"].dtype == found["correct"].dtype == np.int32
    assert found["loss"].min() > 0
    assert found["loss"][8] > 5 * found["loss"][:8].mean()


def test_correct_tokens(predictor: Predictor, opened: Opened, pairs: Path) -> None:
    """`correct` counts the target tokens, the end token included, of the highest probability; never [UNK]."""
    chosen = some(pairs)
    found = scored(predictor, chosen)["correct"]

    for i, (source, target) in enumerate(chosen):
        ids = [*opened.target_ids(target), END_ID]
        logits = opened.model(*opened.source_ids(source), tf.constant([[END_ID, *ids[:-1]]]))[0]
        hits = (logits.numpy().argmax(axis=-1) == ids) & (np.array(ids) != UNKNOWN_ID)
        assert found[i] == hits.sum()
    assert found[8] < len(opened.target_ids(chosen[8][1])) + 1
    assert found[:8].sum() > 8


def test_padding_changes_nothing(predictor: Predictor, pairs: Path) -> None:
    """Neither other pairs of the batch nor their order change the loss of a pair."""
    chosen = some(pairs)
    together, reversed_order = scored(predictor, chosen), scored(predictor, chosen[::-1])

    for i, pair in enumerate(chosen):
        alone = scored(predictor, [pair])
        for name, tolerance in (("loss", 1e-4), ("tokens", 0), ("correct", 0)):
            np.testing.assert_allclose(together[name][i], alone[name][0], rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(
                together[name][i], reversed_order[name][-1 - i], rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("name", [*NETWORKS, "learned"])
def test_run_and_export_agree(networks: Networks, name: str) -> None:
    """A run and its export, loaded without this project, give the same losses, for hard texts too."""
    texts = tf.constant(SHORT)
    outputs = load_predictor(networks.runs[name]).signatures["score"](text=texts, target=texts)

    found = networks.alone[name]["score"]

    np.testing.assert_allclose(found["loss"], outputs["loss"].numpy(), rtol=1e-4)
    for key in ("tokens", "correct"):
        assert found[key] == outputs[key].numpy().tolist()
    assert np.isfinite(found["loss"]).all()
    assert min(found["tokens"]) == 1
