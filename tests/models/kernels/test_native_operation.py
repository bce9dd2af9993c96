import ctypes
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.kernels.native.library import library, operations
from models.kernels.native.operation import Outputs, run, supports
from models.kernels.native.threads import native_threads

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple": keras.layers.SimpleRNN}
SETS = ["avx512", "avx2", "baseline"]


pytestmark = pytest.mark.usefixtures("native_kernels")


def _functions() -> ctypes.CDLL:
    return ctypes.CDLL(str(library().path))


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    best = library().instruction_set or ""
    if _functions().textrnn_set_instruction_set(request.param.encode()):
        pytest.skip(f"this machine has no {request.param}")
    yield request.param
    _functions().textrnn_set_instruction_set(best.encode())


@pytest.fixture
def threads() -> Iterator[Any]:
    yield _functions().textrnn_set_threads
    _functions().textrnn_set_threads(native_threads())


def layers(cell: str, units: int, width: int, directions: int = 2, **options: Any) -> list[keras.layers.RNN]:
    made = [
        LAYERS[cell](units, return_sequences=True, return_state=True, **options) for _ in range(directions)
    ]
    generator = np.random.default_rng(0)
    for layer in made:
        layer.build((None, None, width))
        layer.set_weights([generator.normal(0, 0.3, w.shape) for w in layer.get_weights()])
    return made


def variables(of: list[keras.layers.RNN]) -> list[tf.Variable]:
    return [weight.value for layer in of for weight in layer.trainable_variables]


def normal(*shape: int, seed: int = 1) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def by_keras(
    of: list[keras.layers.RNN], sequences: tf.Tensor, lengths: tf.Tensor, state: list[tf.Tensor]
) -> tuple[tf.Tensor, ...]:
    """Return what `run` returns, by Keras's layers, whose rows must have a step."""
    steps = tf.shape(sequences)[1]
    real = tf.sequence_mask(lengths, steps)
    outputs, last = [], []
    for direction, layer in enumerate(of):
        inputs = tf.reverse_sequence(sequences, lengths, 1, 0) if direction else sequences
        found, *after = layer(inputs, mask=real, initial_state=[value[direction] for value in state])
        found = tf.where(real[:, :, None], found, 0)
        outputs.append(tf.reverse_sequence(found, lengths, 1, 0) if direction else found)
        last.append(after)
    return tf.concat(outputs, -1), *(tf.stack(values) for values in zip(*last, strict=True))


def native(*arguments: Any, **options: Any) -> tuple[tf.Tensor, ...]:
    found = run(*arguments, **options)
    return found if found.memory is not None else found[:2]


def gradients(
    function: Any,
    of: list[keras.layers.RNN],
    sequences: tf.Tensor,
    lengths: tf.Tensor,
    state: list[tf.Tensor],
) -> tuple[tuple[tf.Tensor, ...], list[tf.Tensor]]:
    """Return outputs, and the gradients of a sum of all of them with random weights."""
    sources = [sequences, *state]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        found = function(of, sequences, lengths, state)
        total = tf.add_n([tf.reduce_sum(value * normal(*value.shape, seed=7)) for value in found])
    return found, tape.gradient(total, [*sources, *variables(of)])


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    steps = draw(st.integers(1, 6))
    return {
        "units": draw(st.sampled_from([1, 3, 8, 16, 21, 40])),
        "width": draw(st.sampled_from([1, 5, 16, 33])),
        "directions": draw(st.integers(1, 2)),
        "activation": draw(st.sampled_from(["tanh", "sigmoid", "relu"])),
        "steps": steps,
        "lengths": draw(st.lists(st.integers(1, steps), min_size=1, max_size=20)),
    }


@pytest.mark.parametrize("cell", LAYERS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_outputs_and_gradients_are_those_of_keras(
    instruction_set: str, cell: str, problem: dict[str, Any]
) -> None:
    of = layers(
        cell, problem["units"], problem["width"], problem["directions"], activation=problem["activation"]
    )
    rows = len(problem["lengths"])
    sequences = normal(rows, problem["steps"], problem["width"])
    states = 2 if cell == "lstm" else 1
    state = [0.5 * normal(problem["directions"], rows, problem["units"], seed=i) for i in range(states)]
    lengths = tf.constant(problem["lengths"])

    expected, of_keras = gradients(by_keras, of, sequences, lengths, state)
    found, own = gradients(native, of, sequences, lengths, state)

    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(own, of_keras, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("cell", LAYERS)
def test_padding_and_neighbours_change_no_bit(instruction_set: str, cell: str) -> None:
    of = layers(cell, 37, 19)
    sequences, lengths = normal(30, 9, 19), tf.constant([1 + i % 9 for i in range(30)])
    together = run(of, sequences, lengths, differentiable=False)
    for row, length in ((0, 1), (8, 9), (21, 4)):
        alone = run(of, sequences[row : row + 1, :length], [length], differentiable=False)
        np.testing.assert_array_equal(alone.sequences[0], together.sequences[row, :length])
        np.testing.assert_array_equal(alone.hidden[:, 0], together.hidden[:, row])
    padded = run(of, tf.pad(sequences, [[0, 0], [0, 5], [0, 0]], constant_values=np.nan), lengths)
    np.testing.assert_array_equal(padded.sequences[:, :9], together.sequences)
    np.testing.assert_array_equal(padded.sequences[:, 9:], np.zeros((30, 5, 74)))


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("directions", [1, 2])
def test_every_number_of_threads_gives_the_same_bits(threads: Any, cell: str, directions: int) -> None:
    of = layers(cell, 64, 48, directions)
    sequences, lengths = normal(40, 12, 48), tf.constant([1 + i % 12 for i in range(40)])
    results = []
    for count in (1, 2, 3, 8, 2):
        threads(count)
        found, own = gradients(native, of, sequences, lengths, [])
        results.append([value.numpy() for value in (*found, *own)])
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_seen(instruction_set: str, cell: str, value: float) -> None:
    of = layers(cell, 11, 5, 1, activation="relu")
    sequences = normal(3, 4, 5).numpy()
    sequences[1, 2, 3] = value
    found = run(of, sequences, [4, 4, 4], differentiable=False).sequences.numpy()
    assert np.isfinite(found[[0, 2]]).all()
    assert np.isfinite(found[1, :2]).all()
    assert not np.isfinite(found[1, 2]).all()
    if np.isnan(value):
        assert np.isnan(found[1, 2]).all()


@pytest.mark.parametrize("cell", LAYERS)
def test_a_row_without_steps_keeps_its_state(cell: str) -> None:
    of = layers(cell, 6, 3)
    state = [normal(2, 2, 6, seed=i) for i in range(2 if cell == "lstm" else 1)]
    found = run(of, normal(2, 4, 3), [0, 2], state)
    np.testing.assert_array_equal(found.sequences[0], np.zeros((4, 12)))
    np.testing.assert_array_equal(found.hidden[:, 0], state[0][:, 0])


@pytest.mark.parametrize("cell", LAYERS)
def test_recurrent_dropout_is_that_of_keras(cell: str) -> None:
    sequences, lengths = normal(4, 5, 3), tf.fill([4], 5)

    def outputs(is_native: bool) -> np.ndarray:
        of = layers(cell, 10, 3, 1, recurrent_dropout=0.4, seed=3)
        if is_native:
            return run(of, sequences, lengths, training=True).sequences.numpy()
        return of[0](sequences, training=True)[0].numpy()

    np.testing.assert_allclose(outputs(True), outputs(False), rtol=1e-5, atol=1e-5)
    assert np.abs(outputs(True) - run(layers(cell, 10, 3, 1), sequences, lengths).sequences).max() > 1e-2


def test_masks_have_their_part_in_the_gradients() -> None:
    of = layers("gru", 9, 4, 1)
    rows = 5
    sequences, lengths = normal(rows, 4, 4), tf.fill([rows], 4)
    masks = tf.cast(normal(1, 3, rows, 9, seed=5) > 0, tf.float32) * 2

    def total(kernel: tf.Tensor) -> tf.Tensor:
        found = operations().textrnn_recurrent(
            sequences, lengths, tf.zeros([0]), tf.zeros([0]), masks, [of[0].cell.kernel.value], [kernel],
            [of[0].cell.bias.value], cell="gru", activation="tanh", training=True,
        )  # fmt: skip
        return tf.reduce_sum(found.y * normal(*found.y.shape, seed=2))

    kernel = tf.convert_to_tensor(of[0].cell.recurrent_kernel)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = total(kernel)
    gradient = tape.gradient(value, kernel)
    along = normal(*kernel.shape, seed=9)
    slope = (total(kernel + 1e-2 * along) - total(kernel - 1e-2 * along)) / 2e-2
    assert float(slope) == pytest.approx(float(tf.reduce_sum(gradient * along)), rel=2e-3)


@pytest.mark.parametrize("cell", LAYERS)
def test_frozen_weights_give_the_same_bits(cell: str) -> None:
    of = layers(cell, 12, 7)
    sequences, lengths = normal(3, 5, 7), tf.constant([5, 1, 3])

    @tf.function(autograph=False)
    def frozen(sequences: tf.Tensor) -> Outputs:
        return run(of, sequences, lengths, differentiable=False, frozen=True)

    expected = run(of, sequences, lengths, differentiable=False).sequences
    for _ in range(2):
        np.testing.assert_array_equal(frozen(sequences).sequences, expected)


def test_a_layer_without_gradients_says_so() -> None:
    of = layers("lstm", 4, 3)
    sequences = normal(2, 3, 3)
    with tf.GradientTape() as tape:
        tape.watch(sequences)
        found = run(of, sequences, [3, 3], differentiable=False).sequences
    with pytest.raises(ValueError, match="differentiable=True"):
        tape.gradient(found, sequences)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": normal(2, 3)}, "expected three axes"),
        ({"x": normal(2, 3, 6)}, r"kernels has the shape \[5, 16\], expected \[6, 16\]"),
        ({"lengths": [1]}, r"lengths has the shape \[1\], expected \[2\]"),
        ({"lengths": [1, 4]}, "a length is 4, expected 0 to 3"),
        ({"lengths": [1, -1]}, "a length is -1"),
        ({"hidden": normal(1, 2, 3)}, r"hidden has the shape \[1, 2, 3\], expected \[1, 2, 4\]"),
        ({"memory": normal(2, 2, 4)}, "memory has the shape"),
        ({"masks": normal(1, 3, 2, 4)}, "masks has the shape"),
        ({"kernels": [normal(5, 15)]}, "a kernel has the shape"),
        ({"kernels": [tf.zeros([5, 0])]}, "a kernel has the shape"),
        ({"recurrents": [normal(5, 16)]}, "recurrents has the shape"),
        ({"biases": [normal(2, 16)]}, "biases has the shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    none = tf.zeros([0])
    arguments = {"x": normal(2, 3, 5), "lengths": [3, 2], "hidden": none, "memory": none, "masks": none}
    weights = {"kernels": [normal(5, 16)], "recurrents": [normal(4, 16)], "biases": [normal(16)]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        operations().textrnn_recurrent(
            **(arguments | weights | change), cell="lstm", activation="tanh", training=False
        )


def test_nothing_is_computed_for_nothing() -> None:
    of = layers("lstm", 4, 3)
    assert run(of, tf.zeros([0, 3, 3]), tf.zeros([0], tf.int32)).sequences.shape == (0, 3, 8)
    assert run(of, tf.zeros([2, 0, 3]), [0, 0]).hidden.numpy().tolist() == np.zeros((2, 2, 4)).tolist()


@pytest.mark.parametrize(
    ("layer", "is_supported"),
    [
        (keras.layers.LSTM(2), True),
        (keras.layers.SimpleRNN(2, activation="relu"), True),
        (keras.layers.LSTM(2, use_bias=False), False),
        (keras.layers.LSTM(2, activation="softplus"), False),
        (keras.layers.LSTM(2, recurrent_activation="hard_sigmoid"), False),
        (keras.layers.GRU(2, reset_after=False), False),
        (keras.layers.GRU(2, dtype="mixed_bfloat16"), False),
    ],
)
def test_only_what_the_kernels_compute_is_supported(layer: keras.layers.RNN, is_supported: bool) -> None:
    assert supports([layer]) is is_supported
