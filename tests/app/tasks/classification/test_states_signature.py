"""Which units of the hidden state the signature `states` shows, and what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.prediction.loading import load_predictor
from app.tasks.states import MOST_UNITS, shown_units
from models.classifier import Classifier
from models.hidden_units import unit_weights
from models.settings import ClassifierSettings


def classifier(**settings: Any) -> Classifier:
    """Return a tiny network with random weights."""
    keras.utils.set_random_seed(0)
    small = {"embedding_size": 4, "units": 3, "bidirectional": False, **settings}
    model = Classifier(ClassifierSettings(**small), vocabulary_size=20, classes=2)
    model.build()
    return model


def units_of(model: Classifier) -> dict[str, int]:
    """Return the units that are shown of a network."""
    return shown_units(model.recurrent, model.head)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["forward 1", "forward 2", "forward 3"]),
        (
            {"bidirectional": True},
            [f"{direction} {i}" for direction in ("forward", "backward") for i in (1, 2, 3)],
        ),
        ({"bidirectional": True, "merge_mode": "sum"}, ["unit 1", "unit 2", "unit 3"]),
        ({"layers": 0}, []),
    ],
    ids=["forward", "both", "sum", "no recurrence"],
)
def test_names(settings: dict[str, object], names: list[str]) -> None:
    """Units are named after their direction; their indices are those of the output of the layer."""
    found = units_of(classifier(**settings))

    assert list(found) == names
    assert list(found.values()) == list(range(len(names)))


def test_the_units_that_count() -> None:
    """Of many units those are shown that the head reads most of, half of them of each direction."""
    model = classifier(units=40, bidirectional=True)
    weights = unit_weights(model.head.kernel.numpy(), 80)
    found = units_of(model)

    assert len(found) == MOST_UNITS
    chosen = sorted(found.values())
    for start in (0, 40):
        own = [i for i in chosen if start <= i < start + 40]
        best = start + np.argsort(-weights[start : start + 40])[: MOST_UNITS // 2]
        assert own == sorted(best.tolist())
    assert found == {f"{'backward' if i >= 40 else 'forward'} {i % 40 + 1}": i for i in chosen}


def test_rows_do_not_depend_on_each_other(run: Path) -> None:
    """A text has the same states alone and in a batch, and tokens with the places that `explain` gives."""
    predictor = load_predictor(run)
    texts = [b"The plot is good.", b"", b"dull \xff film"]
    together = predictor.run_texts("states", texts)
    explained = predictor.run_texts("explain", texts)

    for name in ("tokens", "start", "end", "length"):
        np.testing.assert_array_equal(together[name], explained[name])
    for row, text in enumerate(texts):
        alone = predictor.run_texts("states", [text])
        width = alone["states"].shape[1]
        np.testing.assert_allclose(together["states"][row, :width], alone["states"][0], atol=1e-6)
        np.testing.assert_array_equal(together["units"][row], alone["units"][0])
        assert not together["states"][row, max(together["length"][row], 1) :].any()
    assert np.abs(together["states"][0, :4]).max() > 1e-3
