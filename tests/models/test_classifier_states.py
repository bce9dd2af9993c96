"""The hidden states that a classifier shows."""

from __future__ import annotations

import numpy as np
import pytest
from classifier_models import LENGTHS, batch, each_pooling, randomized

from models.hidden_units import unit_weights

UNITS = [5, 0, 2]


@pytest.mark.parametrize("layers", [1, 2])
def test_states_are_outputs_of_the_top_layer(layers: int) -> None:
    """They are what the pooling reads, of the chosen units in their order, and 0 on padding."""
    model = randomized(layers=layers, bidirectional=True)
    token_ids, lengths = batch()
    found = model.hidden_states(UNITS, token_ids, lengths).numpy()
    sequences, _ = model.recurrent(model.embedding(token_ids), lengths)

    assert found.shape == (len(LENGTHS), max(LENGTHS), len(UNITS))
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(found[row, :length], sequences.numpy()[row, :length][:, UNITS], atol=1e-6)
        assert np.abs(found[row, :length]).min() > 1e-4
        assert not found[row, length:].any()


def test_padding_has_no_effect() -> None:
    """More padding, of any id, changes no state."""
    model = randomized(bidirectional=True)
    found = model.hidden_states(UNITS, *batch())
    padded = model.hidden_states(UNITS, *batch(padding=3, padding_id=7))

    np.testing.assert_allclose(padded[:, : max(LENGTHS)], found, atol=1e-6)
    assert not padded[:, max(LENGTHS) :].numpy().any()


@each_pooling
def test_weights_of_units(pooling: str) -> None:
    """The weight of a unit is the norm of what the head multiplies with what becomes of the unit."""
    model = randomized(pooling=pooling, bidirectional=True, classes=4)
    kernel = model.head.kernel.numpy()
    size = model.recurrent.output_size
    expected = [
        np.sqrt(sum((kernel[i] ** 2).sum() for i in range(unit, len(kernel), size))) for unit in range(size)
    ]

    np.testing.assert_allclose(unit_weights(kernel, size), expected, rtol=1e-5)
