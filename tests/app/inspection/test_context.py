"""How many tokens the outputs of a network need, measured where it is known."""

from __future__ import annotations

import numpy as np
import pytest
from networks import UNITS, classifier, linear, rows

from app.inspection.context import Context, last_tokens, measure_context
from app.tasks.inspection import TOKENS

LENGTHS = [40, 33, 40, 12, 40, 25, 40, 40, 38, 40]


def test_the_last_tokens_of_rows() -> None:
    """The tokens before the last ones are gone, and the step is still that of the same token."""
    inspection = classifier()
    vectors = rows(inspection, [6, 3], padding=2)

    found, steps = last_tokens(inspection, vectors, np.array([4, 2]), 2)

    assert steps.tolist() == [1, 1]
    assert found.lengths[TOKENS].numpy().tolist() == [3, 2]
    before, after = vectors.values[TOKENS].numpy(), found.values[TOKENS].numpy()
    np.testing.assert_array_equal(after[0, :3], before[0, 3:6])
    np.testing.assert_array_equal(after[1, :2], before[1, 1:3])
    assert vectors.ids is not None
    assert found.ids is not None
    np.testing.assert_array_equal(found.ids[0, :3], vectors.ids[0, 3:6])


@pytest.mark.parametrize(("decay", "least", "most"), [(0.0, 1, 1), (0.5, 2, 14), (1.0, 22, 40)])
def test_the_context_of_a_linear_recurrence(decay: float, least: int, most: int) -> None:
    """A state without recurrence needs one token; the more it keeps, the more tokens are needed."""
    inspection = linear(decay)

    found = measure_context(inspection, rows(inspection, LENGTHS))

    assert found.tokens.tolist() == [1, 2, 3, 4, 6, 9, 14, 22, 35, 40]
    assert found.same[-1] == 1
    assert least <= found.enough <= most


def test_a_state_that_is_kept_without_a_gradient() -> None:
    """A state that stays near 1 or -1, once it is there, has no gradient, and yet needs the first token."""
    from app.inspection.memory import measure_memory

    inspection = classifier()
    (layer,) = inspection.model.recurrent.forward
    layer.cell.recurrent_kernel.assign(20 * np.eye(UNITS))
    vectors = rows(inspection, [40] * 16)

    assert measure_memory(inspection, vectors).back[TOKENS].norms[30] < 1e-12
    assert measure_context(inspection, vectors).enough > 30


def test_padding_has_no_effect() -> None:
    """The padding of a batch changes no share."""
    inspection = classifier()
    alone, padded = (measure_context(inspection, rows(inspection, LENGTHS, padding=n)) for n in (0, 7))

    np.testing.assert_array_equal(alone.same, padded.same)


def test_enough() -> None:
    """The fewest tokens from which on the predictions stay the same, however it was before."""
    tokens = np.array([1, 2, 3, 9])

    assert Context(tokens, np.array([0.2, 0.97, 0.9, 1.0])).enough == 9
    assert Context(tokens, np.array([0.2, 0.97, 0.96, 1.0])).enough == 2
    assert Context(tokens, np.ones(4)).enough == 1
    assert Context(tokens[-1:], np.ones(1)).as_json() == {"tokens": [9], "same": [1.0], "enough": 9}
