"""How far back a network remembers, measured where it is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from networks import UNITS, classifier, linear, rows

from app.config import TaskConfig
from app.inspection.layers import measure_layer, saturation, steps_back
from app.inspection.matrices import measure_matrices, measure_matrix
from app.inspection.memory import Decay, horizon_of, mean_by_distance, measure_memory, share_within
from app.inspection.network import view_network
from app.inspection.opened import open_to_inspect
from app.inspection.unrolling import unroll
from app.tasks.inspection import TOKENS
from app.train import train
from data.errors import UserError
from models.layers.cells import CELLS, cell_of

Configured = Callable[..., TaskConfig]

LONG = [120] * 12

each_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.95])
def test_the_horizon_of_a_linear_recurrence(decay: float) -> None:
    """Where each step keeps a share of the state, half of the gradient reaches back log ½ / log share."""
    inspection = linear(decay)
    vectors = rows(inspection, [400] * 4)
    expected = math.log(0.5) / math.log(decay)

    found = measure_memory(inspection, vectors).back[TOKENS]
    (layer,) = inspection.layers(vectors)
    of_layer = measure_layer(layer).gradients["hidden"]

    # A token counts as a whole, so that a horizon of one token can't be more exact.
    assert found.half == pytest.approx(expected, rel=0.01 if decay > 0.5 else 0.05)
    assert found.factor == pytest.approx(decay, rel=1e-3)
    assert of_layer.norms[0] == pytest.approx(1, rel=1e-5)
    assert steps_back(of_layer) == pytest.approx(expected, rel=0.01 if decay > 0.5 else 0.05)
    assert of_layer.factor == pytest.approx(decay, rel=1e-3)


def test_a_network_that_forgets_nothing() -> None:
    """With a recurrent matrix of 1 on the diagonal all tokens count the same; with more it explodes."""
    inspection = linear(1.0)
    found = measure_memory(inspection, rows(inspection, LONG)).back[TOKENS]

    assert found.half == pytest.approx(60, rel=1e-3) == pytest.approx(found.even)

    inspection = linear(1.05)
    found = measure_memory(inspection, rows(inspection, LONG)).back[TOKENS]
    assert found.factor == pytest.approx(1.05, rel=1e-3)
    assert found.half > 100


def test_padding_changes_nothing() -> None:
    """Neither padding nor the other rows of a batch change a measurement."""
    inspection = classifier()
    lengths = [3, 9, 5, 9, 7, 4, 9, 8, 6]
    alone, padded = (rows(inspection, lengths, padding=padding) for padding in (0, 5))

    first, second = (measure_memory(inspection, own).back[TOKENS] for own in (alone, padded))
    np.testing.assert_allclose(first.norms, second.norms, rtol=1e-5)
    first, second = (measure_layer(inspection.layers(own)[0]).gradients["hidden"] for own in (alone, padded))
    np.testing.assert_array_equal(first.rows, second.rows)
    assert first.norms[0] == pytest.approx(second.norms[0]) == pytest.approx(1)


def test_means_by_distance() -> None:
    """Each distance has the mean of the rows that are long enough; those that few rows have are left out."""
    long = [np.array([4.0, 2.0, 1.0])] * 8
    found = mean_by_distance([*long, np.array([13.0]), np.arange(9.0)])

    np.testing.assert_allclose(found.norms, [(32 + 13) / 10, (16 + 1) / 9, (8 + 2) / 9])
    np.testing.assert_array_equal(found.rows, [10, 9, 9])


def test_shares_and_factors() -> None:
    """A share of a sum is interpolated; a gradient of zeros has no factor."""
    assert share_within(np.array([2.0, 2, 4, 8]), 0.5) == 3.0
    assert share_within(np.array([1.0, 1, 1, 1]), 0.5) == 2.0
    assert share_within(np.zeros(3), 0.5) == 0.0
    assert Decay(np.zeros(3), np.ones(3, int)).factor is None
    assert Decay(np.array([8.0, 4, 2, 1]), np.ones(4, int)).factor == pytest.approx(0.5)


@each_cell
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_unrolled_states_and_gradients(cell: str, backward: bool) -> None:
    """The states are those of the Keras layer, and the gradients those of finite differences."""
    inspection = classifier(f"model.cell={cell}", "model.bidirectional=true", seed=3)
    vectors = rows(inspection, [6])
    layer = inspection.layers(vectors)[backward]
    keras_layer, steps = layer.layer, 6
    inputs = layer.inputs[:, ::-1] if backward else layer.inputs

    found = unroll(layer, with_gradients=True)

    np.testing.assert_allclose(found.states["hidden"], keras_layer(inputs), atol=1e-6)
    for values in found.gates.values():
        assert values.shape == (1, steps, UNITS)
        assert 0 < values.min() < values.max() < 1
    names = list(found.states)
    direction = tf.math.l2_normalize(tf.random.stateless_normal([1, UNITS], seed=(0, 0)), axis=1).numpy()
    step, at = cell_of(keras_layer).step, 2

    def last(state: list[np.ndarray]) -> float:
        now = tuple(tf.constant(own, tf.float32) for own in state)
        for i in range(at + 1, steps):
            now = step(keras_layer.cell, inputs[:, i], now)
        return float((now[0].numpy() * direction).sum())

    for place, name in enumerate(names):
        gradient = []
        for unit in range(UNITS):
            moved = []
            for change in (0.05, -0.05):
                state = [found.states[own][:, at].copy() for own in names]
                state[place][0, unit] += change
                moved.append(last(state))
            gradient.append((moved[0] - moved[1]) / 0.1)
        assert found.gradients[name][0, at] == pytest.approx(np.linalg.norm(gradient), rel=0.02)


def test_gates_are_those_of_the_equations() -> None:
    """An LSTM with a large bias of its forget gate keeps its memory: that gate is open."""
    inspection = classifier("model.cell=lstm")
    (layer,) = inspection.model.recurrent.forward
    bias = np.zeros(4 * UNITS, np.float32)
    bias[UNITS : 2 * UNITS] = 6
    bias[3 * UNITS :] = -6
    layer.cell.bias.assign(bias)

    found = measure_layer(inspection.layers(rows(inspection, [30] * 8))[0])

    assert found.gates["forget"].open == 1
    assert found.gates["output"].closed == 1
    assert found.gates["input"].open == found.gates["input"].closed == 0
    assert found.gradients["memory"].factor == pytest.approx(1 / (1 + math.exp(-6)), abs=0.01)


def test_saturation() -> None:
    """Values below 0.05 and above 0.95 are counted."""
    found = saturation(np.array([0.01, 0.04, 0.05, 0.5, 0.95, 0.96]))

    assert found.closed == pytest.approx(2 / 6)
    assert found.open == pytest.approx(1 / 6)
    assert found.mean == pytest.approx(2.51 / 6)


def test_matrices() -> None:
    """A rotation keeps lengths; a nilpotent matrix has a radius of 0, though it lengthens a vector."""
    rotation = measure_matrix(np.array([[0.0, -2.0], [2.0, 0.0]]))
    assert rotation == pytest.approx((2, 2, math.sqrt(8)))
    assert measure_matrix(np.array([[0.0, 3.0], [0.0, 0.0]])) == pytest.approx((0, 3, 3))


@each_cell
def test_matrices_of_a_layer(cell: str) -> None:
    """Each gate with a recurrent matrix is measured, in the order of its columns."""
    inspection = classifier(f"model.cell={cell}")
    (layer,) = inspection.model.recurrent.forward
    kernel = getattr(layer.cell, "recurrent_kernel", None)
    if kernel is not None:
        scales = np.repeat(np.arange(1, kernel.shape[1] // UNITS + 1), UNITS)
        kernel.assign(np.tile(np.eye(UNITS), kernel.shape[1] // UNITS) * scales)

    found = measure_matrices(layer)

    expected = {
        "simple": ["state"],
        "gru": ["update", "reset", "candidate"],
        "lstm": ["input", "forget", "candidate", "output"],
        "mingru": [],
    }
    assert list(found) == expected[cell]
    for scale, matrix in enumerate(found.values(), 1):
        assert matrix.spectral_radius == pytest.approx(scale)


def test_the_horizon_of_a_run(run: Path) -> None:
    """The function of other commands gives what `inspect` shows."""
    view = view_network(open_to_inspect(run))

    assert horizon_of(open_to_inspect(run)) == view.as_json()["memory"]["horizon"] > 1
    assert [layer.name for layer in view.layers] == ["recurrent/forward_0", "recurrent/backward_0"]
    assert view.sentences()[0].startswith("Half of the gradient reaches back ")


def test_an_export_has_no_layers(exported: Path) -> None:
    """The error says what to pass instead."""
    with pytest.raises(UserError, match="pass the run that it was exported from"):
        open_to_inspect(exported)


def test_data_that_is_gone(reviews: Path, configured: Configured, tmp_path: Path) -> None:
    """Without the data of the training, nothing can be measured."""
    data = tmp_path / "data"
    data.mkdir()
    for path in reviews.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    config = configured(f"data.directory={tmp_path / 'prepared'}")
    train("classification", str(data), config, run=tmp_path / "run")
    (data / "train.jsonl").write_text('{"text": "new", "label": "a"}\n{"text": "old", "label": "b"}\n')

    with pytest.raises(UserError, match="has changed since"):
        horizon_of(open_to_inspect(tmp_path / "run"))
