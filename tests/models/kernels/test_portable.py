from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from each_cell import each_cell, each_cell_with_kernels

from models.kernels import block
from models.kernels.block import BLOCK_ROWS, block_rows
from models.kernels.loop import STEPS_A_TURN
from models.kernels.portable import has_cudnn_kernel, run
from models.layers.cells import cell_of, get_cell

WIDTH = 3
UNITS = 5

each_layer = pytest.mark.parametrize(
    ("cell", "options", "cudnn"),
    [
        ("simple", {}, True),
        ("simple", {"activation": "relu"}, True),
        ("simple", {"activation": "sigmoid"}, False),
        ("simple", {"use_bias": False}, False),
        ("gru", {}, True),
        ("gru", {"activation": "relu"}, False),
        ("gru", {"recurrent_activation": "hard_sigmoid"}, False),
        ("gru", {"reset_after": False}, False),
        ("gru", {"use_bias": False}, False),
        ("gru", {"reset_after": False, "use_bias": False}, False),
        ("lstm", {}, True),
        ("lstm", {"activation": "sigmoid"}, False),
        ("lstm", {"recurrent_activation": "hard_sigmoid"}, False),
        ("lstm", {"use_bias": False}, False),
        ("mingru", {}, False),
    ],
)


LARGEST = 9
"""Rows of `STEPS_A_TURN` steps that are run as one block."""


@pytest.fixture(autouse=True)
def largest_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit of a block, so that small batches exceed it."""
    monkeypatch.setattr("models.kernels.block.LARGEST_BLOCK", LARGEST * STEPS_A_TURN * UNITS)


def layer(cell: str, **options: Any) -> keras.layers.RNN:
    """Return a Keras layer whose weights are all random."""
    made = get_cell(cell).layer(UNITS, return_sequences=True, return_state=True, **options)
    made.build((None, None, WIDTH))
    generator = np.random.default_rng(0)
    made.set_weights([generator.normal(scale=0.6, size=weight.shape) for weight in made.get_weights()])
    return made


def batch(rows: int, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return rows of noise and their lengths, the longest and the shortest among them."""
    generator = np.random.default_rng(rows * steps)
    lengths = generator.integers(1, steps + 1, rows)
    lengths[0], lengths[-1] = steps, 1
    sequences = generator.normal(size=(rows, steps, WIDTH))
    return tf.constant(sequences, tf.float32), tf.constant(lengths, tf.int32)


def states(cell: str, rows: int) -> list[tf.Tensor]:
    """Return an initial state that is not zeros."""
    count = get_cell(cell).states
    return [
        tf.constant(np.random.default_rng(i).normal(size=(rows, UNITS)), tf.float32) for i in range(count)
    ]


def by_keras(
    made: keras.layers.RNN, sequences: tf.Tensor, lengths: tf.Tensor, state: list[tf.Tensor] | None
) -> list[list[np.ndarray]]:
    """Return the results of the Keras layer for each row, in batches of equal lengths."""
    found: list[list[np.ndarray]] = [[] for _ in lengths]
    for length in set(lengths.numpy().tolist()):
        rows = np.flatnonzero(lengths.numpy() == length)
        start = None if state is None else [tf.gather(value, rows) for value in state]
        results = made(tf.gather(sequences, rows)[:, :length], initial_state=start)
        for place, row in enumerate(rows):
            found[row] = [result[place].numpy() for result in results]
    return found


@each_layer
@pytest.mark.parametrize(
    ("rows", "steps"),
    [(1, 1), (3, STEPS_A_TURN + 1), (LARGEST, STEPS_A_TURN), (LARGEST + 1, 7)],
)
@pytest.mark.parametrize("stateful", [False, True])
def test_as_keras(
    cell: str, options: dict[str, Any], cudnn: bool, rows: int, steps: int, stateful: bool
) -> None:
    """Outputs and the state after each row's last step are those of the Keras layer.

    This holds for every kernel and every initial state.
    """
    made = layer(cell, **options)
    sequences, lengths = batch(rows, steps)
    state = states(cell, rows) if stateful else None
    expected = by_keras(made, sequences, lengths, state)
    outputs, after = run(made, sequences, lengths, state, wants_state=True)
    alone, nothing = run(made, sequences, lengths, state)

    assert nothing == ()
    assert len(after) == get_cell(cell).states
    for row, (of_row, *state_of_row) in enumerate(expected):
        np.testing.assert_allclose(outputs[row, : len(of_row)], of_row, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone[row, : len(of_row)], of_row, rtol=1e-5, atol=1e-6)
        for got, wanted in zip(after, state_of_row, strict=True):
            np.testing.assert_allclose(got[row], wanted, rtol=1e-5, atol=1e-6)


@each_cell
def test_state_of_unknown_shape(cell: str) -> None:
    """The shape of a state may be unknown except for its rank, as often in a loop."""
    made = layer(cell)
    sequences, lengths = batch(3, 5)
    state = states(cell, 3)

    @tf.function(input_signature=[[tf.TensorSpec([None, None])] * len(state)], autograph=False)
    def graph(state: list[tf.Tensor]) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        return run(made, sequences, lengths, state, wants_state=True)

    for got, wanted in zip(
        tf.nest.flatten(graph(state)),
        tf.nest.flatten(run(made, sequences, lengths, state, wants_state=True)),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "steps", "loops"),
    [
        (LARGEST, STEPS_A_TURN, 0),
        (LARGEST, STEPS_A_TURN + 1, 1),
        (BLOCK_ROWS - 8, 1, 0),
        (BLOCK_ROWS + 1, 1, 1),
    ],
)
def test_a_large_batch_is_not_kept_whole(
    monkeypatch: pytest.MonkeyPatch, rows: int, steps: int, loops: int
) -> None:
    """Beyond a maximum of rows, or of rows × steps, a loop runs instead of `BlockLSTMV2`."""
    from models.kernels import portable

    ran: list[int] = []
    loop = portable.run_loop
    monkeypatch.setattr(block, "ROWS_OF_FEW_UNITS", BLOCK_ROWS)
    monkeypatch.setattr(portable, "run_loop", lambda *arguments: (ran.append(1), loop(*arguments))[1])
    run(layer("lstm"), *batch(rows, steps))

    assert len(ran) == loops


def test_few_units_run_more_rows_at_once() -> None:
    """The fewer units a layer has, the more rows `BlockLSTMV2` runs."""
    assert block_rows(200) == block_rows(64) == BLOCK_ROWS < block_rows(48)


@each_layer
def test_which_have_cudnn_kernels(cell: str, options: dict[str, Any], cudnn: bool) -> None:
    """Only cells with a bias and the activations of the papers run on cuDNN."""
    assert has_cudnn_kernel(layer(cell, **options)) == cudnn


@each_cell
@pytest.mark.parametrize("rows", [2, LARGEST])
def test_padding_does_not_count(cell: str, rows: int) -> None:
    """Neither the amount nor the content of padding changes a row's real steps or its state."""
    made = layer(cell)
    sequences, lengths = batch(rows, 5)
    noise = tf.fill([rows, 6, WIDTH], 7.0)
    real = (np.arange(5) < lengths.numpy()[:, None])[:, :, None]
    dirty = tf.concat([tf.where(real, sequences, 9.0), noise], axis=1)
    expected, state = run(made, sequences, lengths, wants_state=True)
    outputs, after = run(made, dirty, lengths, wants_state=True)

    np.testing.assert_allclose(outputs[:, :5] * real, expected * real, rtol=1e-5, atol=1e-6)
    for got, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@each_cell_with_kernels
def test_cudnn_parameters(cell: str) -> None:
    """Weights are passed to cuDNN in the order of its documentation.

    A step is computed from the flat parameters with the equations of cuDNN's manual, and compared with Keras.
    """
    made = layer(cell)
    of_cell = made.cell
    weights = tuple(weight.value for weight in (of_cell.kernel, of_cell.recurrent_kernel, of_cell.bias))
    kernels = cell_of(made).kernels
    assert kernels is not None
    assert kernels.cudnn_parameters is not None
    flat = kernels.cudnn_parameters(weights).numpy()
    gates = {"simple": 1, "gru": 3, "lstm": 4}[cell]
    inputs, hidden = gates * UNITS * WIDTH, gates * UNITS * UNITS
    w = flat[:inputs].reshape(gates, UNITS, WIDTH)
    r = flat[inputs : inputs + hidden].reshape(gates, UNITS, UNITS)
    b_w, b_r = flat[inputs + hidden :].reshape(2, gates, UNITS)
    x = np.random.default_rng(1).normal(size=WIDTH)
    h, *c = (value.numpy()[0] for value in states(cell, 1))

    def sigmoid(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    of_input, of_hidden = w @ x + b_w, r @ h + b_r
    if cell == "simple":
        expected = np.tanh(of_input + of_hidden)[0]
    elif cell == "gru":
        reset, update = sigmoid((of_input + of_hidden)[:2])
        candidate = np.tanh(of_input[2] + reset * of_hidden[2])
        expected = (1 - update) * candidate + update * h
    else:
        i, f, candidate, o = of_input + of_hidden
        memory = sigmoid(f) * c[0] + sigmoid(i) * np.tanh(candidate)
        expected = sigmoid(o) * np.tanh(memory)
    sequences = tf.constant(x[None, None], tf.float32)
    got = made(sequences, initial_state=states(cell, 1))[0][0, 0]

    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@each_cell_with_kernels
def test_both_implementations_are_in_the_graph(cell: str, tmp_path: Path) -> None:
    """A graph has one function for each kind of device under one name, and calls that of the CPU."""
    made = layer(cell)

    @tf.function(autograph=False)
    def graph(sequences: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, ...]:
        first, (state, *_) = run(made, sequences, lengths, wants_state=True)
        return first, state, run(made, first[:, :, :WIDTH], lengths)[0]

    concrete = graph.get_concrete_function(*batch(2, 4))
    library = {
        function.signature.name: function for function in concrete.graph.as_graph_def().library.function
    }
    pairs: dict[bytes, dict[bytes, str]] = {}
    for name, function in library.items():
        if "api_implements" in function.attr:
            device = function.attr["api_preferred_device"].s
            pairs.setdefault(function.attr["api_implements"].s, {})[device] = name
    called = {node.op for node in concrete.graph.as_graph_def().node} | {
        node.attr["f"].func.name for node in concrete.graph.as_graph_def().node
    }

    assert len(pairs) == 2
    for pair in pairs.values():
        assert sorted(pair) == [b"CPU", b"GPU"]
        assert pair[b"CPU"] in called
        assert pair[b"GPU"] not in called
        operations = [node.op for node in library[pair[b"GPU"]].node_def]
        assert operations.count("CudnnRNNV3") == 1
