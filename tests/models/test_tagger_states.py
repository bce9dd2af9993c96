"""The hidden states that a tagger shows."""

from __future__ import annotations

import numpy as np
from tagger_models import LENGTHS, batch, each_character_features, randomized

UNITS = [4, 0]


@each_character_features
def test_the_head_reads_the_states(character_features: str) -> None:
    """The head makes the scores of the tags of them; they are 0 on padding."""
    model = randomized(character_features=character_features)
    inputs = batch()
    every = range(model.recurrent.output_size)
    states = model.hidden_states(every, *inputs).numpy()
    emissions = model(*inputs)["emissions"].numpy()

    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(
            states[row, :length] @ model.head.kernel.numpy() + model.head.bias.numpy(),
            emissions[row, :length],
            atol=1e-5,
        )
        assert not states[row, length:].any()
    np.testing.assert_array_equal(model.hidden_states(UNITS, *inputs), states[:, :, UNITS])


def test_padding_has_no_effect() -> None:
    """More padding changes no state."""
    model = randomized(character_features="recurrent")
    found = model.hidden_states(UNITS, *batch())
    padded = model.hidden_states(UNITS, *batch(steps=3, letters=2, unused=1, fill=5))

    np.testing.assert_allclose(padded[:, : max(LENGTHS)], found, atol=1e-6)
    assert not padded[:, max(LENGTHS) :].numpy().any()
