"""The baseline of language models in `evaluate`: the same tokens of the same examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from generation_data import KINDS, Model, Models, play

from app.evaluate import evaluate
from app.tasks.generation.baseline import HIGHEST_ORDER
from app.tasks.generation.ngrams import orders, text_of


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tokens(models: Models, kind: str) -> None:
    """The baseline is evaluated on as many tokens as the network, of documents and of texts in pieces."""
    found = evaluate(models(kind).path)
    own: dict[str, Any] = found["baseline"]

    assert own["name"] == "n-gram baseline"
    assert own["tokens"] == found["tokens"]
    assert own["perplexity"] == pytest.approx(math.exp(own["loss"]))
    nats = own["loss"] * own["tokens"]
    assert own["bits_per_character"] == pytest.approx(nats / found["characters"] / math.log(2))
    assert 1 < own["order"] <= HIGHEST_ORDER
    assert own["loss"] < math.log(len(models(kind).vocabulary)) * 0.8


def test_characters_of_a_text(char: Model) -> None:
    """The loss is that of the model of the order with the lowest loss on the validation characters."""
    text = play()
    ids = np.array(char.ids(text))
    ends = [round(len(text) * share) for share in (0.9, 0.95, 1)]
    start, parts = len(char.vocabulary), np.split(ids, ends[:-1])
    train, *others = (
        text_of(part, np.array([0, len(part)]), order=HIGHEST_ORDER, start=start) for part in parts
    )
    losses = [
        [-np.log(own).mean() for own in found]
        for found in orders(train, others, start=start, possible=start - 2, highest=HIGHEST_ORDER)
    ]
    found = evaluate(char.path)["baseline"]
    order = next(i for i, (own, _) in enumerate(losses) if own <= losses[i + 1][0])

    assert found["order"] == order + 1
    assert found["training_tokens"] == ends[0]
    assert found["loss"] == pytest.approx(losses[order][1])
