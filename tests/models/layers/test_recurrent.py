from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.layers.cells import get_cell
from models.layers.recurrent import RecurrentStack, last_step, merge, reverse
from models.settings import BidirectionalSettings

Array = NDArray[np.float64]
Activation = Callable[[Array], Array]

WIDTH = 4
UNITS = 3
LENGTHS = [5, 1, 3, 2]
MERGE_MODES = ("concat", "sum", "mul", "ave")

# Cells of Keras; `mingru` has tests of its own in layers/cells and in test_mingru_networks.
KERAS_CELLS = ("simple", "gru", "lstm")
each_cell = pytest.mark.parametrize("cell", KERAS_CELLS)
# One direction, and both in each way of joining them.
each_direction = pytest.mark.parametrize(
    ("bidirectional", "merge_mode"), [(False, "concat"), *((True, mode) for mode in MERGE_MODES)]
)


def stack(**settings: Any) -> RecurrentStack:
    """Return a built stack whose weights are all random: Keras's own biases are zeros and ones."""
    defaults = {"units": UNITS, "bidirectional": False, "dropout": 0.0}
    options = {"name": settings.pop("name")} if "name" in settings else {}
    made = RecurrentStack(BidirectionalSettings(**{**defaults, **settings}), **options)
    made.build((None, None, WIDTH))
    generator = np.random.default_rng(0)
    made.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in made.get_weights()])
    return made


def batch(lengths: list[int], padding: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return rows of noise, the same with any padding; what pads them is larger noise."""
    steps = max(lengths) + padding
    sequences = np.random.default_rng(steps).normal(scale=9, size=(len(lengths), steps, WIDTH))
    for row, length in enumerate(lengths):
        sequences[row, :length] = np.random.default_rng([1, row]).normal(size=(length, WIDTH))
    return tf.constant(sequences, tf.float32), tf.constant(lengths, tf.int32)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def simple(steps: Array, weights: list[Array], activation: Activation) -> Array:
    """Run a simple recurrent layer over one row: [T, D] → [T, U]."""
    kernel, recurrent, bias = weights
    h = np.zeros(UNITS)
    outputs = []
    for x in steps:
        h = activation(x @ kernel + h @ recurrent + bias)
        outputs.append(h)
    return np.array(outputs)


def lstm(steps: Array, weights: list[Array], activation: Activation) -> Array:
    """Run an LSTM over one row: [T, D] → [T, U]."""
    kernel, recurrent, bias = weights
    h = c = np.zeros(UNITS)
    outputs = []
    for x in steps:
        i, f, candidate, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * activation(candidate)
        h = sigmoid(o) * activation(c)
        outputs.append(h)
    return np.array(outputs)


def gru(steps: Array, weights: list[Array], activation: Activation) -> Array:
    """Run a GRU over one row, its reset gate behind the product: [T, D] → [T, U]."""
    kernel, recurrent, bias = weights
    h = np.zeros(UNITS)
    outputs = []
    for x in steps:
        x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3)
        h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = z * h + (1 - z) * activation(x_h + r * h_h)
        outputs.append(h)
    return np.array(outputs)


RUN = {"simple": simple, "lstm": lstm, "gru": gru}
JOIN: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda ahead, behind: np.concatenate([ahead, behind], axis=-1),
    "sum": lambda ahead, behind: ahead + behind,
    "mul": lambda ahead, behind: ahead * behind,
    "ave": lambda ahead, behind: 0.5 * ahead + 0.5 * behind,
}


def expected(made: RecurrentStack, steps: Array, activation: Activation = np.tanh) -> tuple[Array, Array]:
    """Return the top layer's outputs [T, D'] and the final one [D'] for one row without padding."""
    run = RUN[made.settings.cell]
    join = JOIN[made.settings.merge_mode]
    final = steps[-1]
    for i, forward in enumerate(made.forward):
        ahead = run(steps, forward.get_weights(), activation)
        if made.settings.bidirectional:
            # Put back into the order of the text: what has read all of it comes first.
            behind = run(steps[::-1], made.backward[i].get_weights(), activation)[::-1]
            steps, final = join(ahead, behind), join(ahead[-1], behind[0])
        else:
            steps, final = ahead, ahead[-1]
    return steps, final


def assert_as_expected(made: RecurrentStack, activation: Activation = np.tanh) -> None:
    sequences, lengths = batch(LENGTHS, padding=2)
    outputs, final = made(sequences, lengths)

    assert outputs.shape == [len(LENGTHS), max(LENGTHS) + 2, made.output_size]
    assert final.shape == [len(LENGTHS), made.output_size]
    for row, length in enumerate(LENGTHS):
        expected_outputs, expected_final = expected(
            made, sequences[row, :length].numpy().astype(np.float64), activation
        )
        np.testing.assert_allclose(outputs[row, :length], expected_outputs, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(final[row], expected_final, rtol=1e-4, atol=1e-5)


@each_cell
@each_direction
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_pass(cell: str, layers: int, bidirectional: bool, merge_mode: str) -> None:
    """Real steps and final outputs are those of a loop over each row's own steps."""
    assert_as_expected(stack(cell=cell, layers=layers, bidirectional=bidirectional, merge_mode=merge_mode))


@each_cell
def test_activation(cell: str) -> None:
    """Another activation than tanh is that of the layers in both directions."""
    assert_as_expected(stack(cell=cell, bidirectional=True, activation="relu"), relu)


@each_cell
@each_direction
def test_padding_changes_no_output(cell: str, bidirectional: bool, merge_mode: str) -> None:
    """Neither more padding, nor what it holds, nor longer neighbours change real steps."""
    made = stack(cell=cell, layers=2, bidirectional=bidirectional, merge_mode=merge_mode)
    outputs, final = made(*batch(LENGTHS))
    padded_outputs, padded_final = made(*batch(LENGTHS, padding=2))

    np.testing.assert_allclose(padded_final, final, rtol=1e-5, atol=1e-6)
    for row, length in enumerate(LENGTHS):
        alone = tf.constant(batch(LENGTHS)[0][row : row + 1, :length])
        alone_outputs, alone_final = made(alone, tf.constant([length]))
        np.testing.assert_allclose(padded_outputs[row, :length], outputs[row, :length], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone_outputs[0], outputs[row, :length], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone_final[0], final[row], rtol=1e-5, atol=1e-6)


def gradients(
    made: RecurrentStack, sequences: tf.Tensor, lengths: tf.Tensor, rows: list[int]
) -> tuple[list[Array], Array]:
    """Return gradients of a loss on the real steps and the final outputs, for all weights and the input.

    What the loss asks of a row depends on the row's number alone.
    """
    with tf.GradientTape() as tape:
        tape.watch(sequences)
        outputs, final = made(sequences, lengths)
        loss = tf.constant(0.0)
        for i, (row, length) in enumerate(zip(rows, lengths.numpy(), strict=True)):
            wish = np.random.default_rng([2, row]).normal(size=(length + 1, final.shape[1]))
            loss += tf.reduce_sum(outputs[i, :length] * wish[1:]) + tf.reduce_sum(final[i] * wish[0])
    *of_weights, of_input = tape.gradient(loss, [*made.trainable_variables, sequences])
    return [gradient.numpy() for gradient in of_weights], of_input.numpy()


@each_cell
@pytest.mark.parametrize(
    ("bidirectional", "merge_mode"), [(False, "concat"), (True, "concat"), (True, "mul")]
)
def test_padding_changes_no_gradient(cell: str, bidirectional: bool, merge_mode: str) -> None:
    """Backpropagation through time is that of each row alone, and gives padding nothing."""
    made = stack(cell=cell, layers=2, bidirectional=bidirectional, merge_mode=merge_mode)
    rows = list(range(len(LENGTHS)))
    sequences, lengths = batch(LENGTHS, padding=2)
    of_weights, of_input = gradients(made, sequences, lengths, rows)
    alone = [
        gradients(made, tf.constant(sequences[row : row + 1, :length]), lengths[row : row + 1], [row])
        for row, length in enumerate(LENGTHS)
    ]

    assert len(of_weights) == 3 * 2 * (1 + bidirectional)
    for i, gradient in enumerate(of_weights):
        assert np.any(gradient)
        np.testing.assert_allclose(gradient, sum(row[0][i] for row in alone), rtol=1e-4, atol=1e-5)
    for row, length in enumerate(LENGTHS):
        assert np.all(np.any(of_input[row, :length], axis=1))
        assert not np.any(of_input[row, length:])
        np.testing.assert_allclose(of_input[row, :length], alone[row][1][0], rtol=1e-4, atol=1e-5)


@each_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_order_of_rows_does_not_matter(cell: str, bidirectional: bool) -> None:
    """Rows in another order give the same outputs in that order."""
    made = stack(cell=cell, layers=2, bidirectional=bidirectional)
    sequences, lengths = batch(LENGTHS)
    order = [2, 0, 3, 1]
    outputs, final = made(sequences, lengths)
    shuffled_outputs, shuffled_final = made(tf.gather(sequences, order), tf.gather(lengths, order))

    np.testing.assert_allclose(shuffled_final, tf.gather(final, order), rtol=1e-5, atol=1e-6)
    for i, row in enumerate(order):
        length = LENGTHS[row]
        np.testing.assert_allclose(shuffled_outputs[i, :length], outputs[row, :length], rtol=1e-5, atol=1e-6)


@each_cell
@pytest.mark.parametrize("merge_mode", MERGE_MODES)
def test_agrees_with_keras(cell: str, merge_mode: str) -> None:
    """With the same weights, Keras's masked `Bidirectional` gives the same."""
    made = stack(cell=cell, bidirectional=True, merge_mode=merge_mode)
    sequences, lengths = batch(LENGTHS, padding=1)
    mask = tf.sequence_mask(lengths, sequences.shape[1])
    outputs, final = made(sequences, lengths)

    def masked(return_sequences: bool) -> Array:
        layer = keras.layers.Bidirectional(
            get_cell(cell).layer(UNITS, return_sequences=return_sequences), merge_mode=merge_mode
        )
        layer.build(sequences.shape)
        layer.set_weights([*made.forward[0].get_weights(), *made.backward[0].get_weights()])
        return layer(sequences, mask=mask).numpy()

    np.testing.assert_allclose(outputs[mask], masked(True)[mask.numpy()], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(final, masked(False), rtol=1e-5, atol=1e-6)


@each_cell
def test_one_graph_for_all_shapes(cell: str) -> None:
    """A graph of unknown batch size and length gives the same for any."""
    made = stack(cell=cell, bidirectional=True)
    graph = tf.function(
        lambda sequences, lengths: made(sequences, lengths),
        input_signature=[tf.TensorSpec([None, None, WIDTH]), tf.TensorSpec([None], tf.int32)],
    )

    for lengths in (LENGTHS, [1], [2, 2]):
        for got, wanted in zip(graph(*batch(lengths)), made(*batch(lengths)), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_layers(bidirectional: bool) -> None:
    """Without layers the input passes through, and the final output is its last real step."""
    made = RecurrentStack(BidirectionalSettings(units=UNITS, layers=0, bidirectional=bidirectional))
    made.build((None, None, WIDTH))
    sequences, lengths = batch(LENGTHS)
    outputs, final = made(sequences, lengths, training=True)

    assert made.weights == []
    np.testing.assert_array_equal(outputs, sequences)
    np.testing.assert_array_equal(final, [sequences[i, length - 1] for i, length in enumerate(LENGTHS)])


@each_cell
def test_portable(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable stack gives the same numbers, and runs no layer of Keras."""
    made = stack(cell=cell, layers=2, bidirectional=True)
    before = made(*batch(LENGTHS))
    made.make_portable()
    monkeypatch.delattr(get_cell(cell).layer, "call")

    real = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    (sequences, final), (all_before, final_before) = made(*batch(LENGTHS)), before
    np.testing.assert_allclose(final, final_before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sequences[real], all_before[real], rtol=1e-5, atol=1e-6)


@each_cell
def test_portable_stacks_learn(cell: str) -> None:
    """In training, and where gradients are asked for, a portable stack is what it was."""
    made = stack(cell=cell, layers=2, bidirectional=True)
    sequences, lengths = batch(LENGTHS)

    def gradients(**how: bool) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(made(sequences, lengths, **how)[1] ** 2)
        found: list[tf.Tensor] = tape.gradient(loss, [weight.value for weight in made.weights])
        return found

    before = gradients()
    made.make_portable()

    for how in ({"training": True}, {"differentiable": True}):
        for got, wanted in zip(gradients(**how), before, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"cell": "lstm", "layers": 3, "bidirectional": True}, 6),
        ({"cell": "gru", "layers": 2}, 2),
        ({"cell": "simple", "activation": "relu"}, 1),
        ({"cell": "simple", "activation": "sigmoid"}, 0),
        ({"cell": "lstm", "activation": "relu", "layers": 2}, 0),
        ({"cell": "gru", "activation": "sigmoid"}, 0),
        ({"cell": "gru", "layers": 0}, 0),
    ],
)
def test_cudnn_layers(settings: dict[str, Any], count: int) -> None:
    """Each direction of a layer that cuDNN has counts."""
    assert stack(**settings).cudnn_layers() == count


@each_cell
def test_inference_drops_nothing(cell: str) -> None:
    """Out of training, dropout of either kind changes nothing."""
    settings: dict[str, Any] = {"cell": cell, "layers": 2, "bidirectional": True}
    plain = stack(**settings)
    dropping = stack(**settings, dropout=0.5, recurrent_dropout=0.5)

    for got, wanted in zip(dropping(*batch(LENGTHS)), plain(*batch(LENGTHS)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_dropout_is_between_layers() -> None:
    """In training, features are dropped before the second layer, and the first one sees all of its input.

    Of 300 equal rows of one step, the second layer then reads each choice of features, and no more.
    """
    rows = tf.ones([300, 1, WIDTH])
    lengths = tf.ones([300], tf.int32)
    single = stack(cell="gru", dropout=0.5)
    double = stack(cell="gru", dropout=0.5, layers=2)

    assert len(np.unique(np.round(single(rows, lengths, training=True)[1], 4), axis=0)) == 1
    assert len(np.unique(np.round(double(rows, lengths, training=True)[1], 4), axis=0)) == 2**UNITS


@each_cell
def test_recurrent_dropout_is_in_both_directions(cell: str) -> None:
    """In training, the hidden state is dropped in each direction, and matters from its second step on."""
    made = stack(cell=cell, bidirectional=True, recurrent_dropout=0.9)
    sequences, lengths = batch(LENGTHS)
    change = np.abs(made(sequences, lengths, training=True)[0] - made(sequences, lengths)[0])

    assert change[0, 1:, :UNITS].max() > 0.01
    assert change[0, :-1, UNITS:].max() > 0.01
    assert change[0, 0, :UNITS].max() < 1e-6
    assert change[0, -1, UNITS:].max() < 1e-6


def test_config() -> None:
    """The configuration makes the same stack again, with no setting left out."""
    settings: dict[str, Any] = {
        "cell": "gru",
        "units": UNITS,
        "layers": 2,
        "bidirectional": True,
        "merge_mode": "ave",
        "dropout": 0.5,
        "recurrent_dropout": 0.25,
        "activation": "relu",
    }
    made = stack(**settings, name="words")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    again.set_weights(made.get_weights())

    assert isinstance(again, RecurrentStack)
    assert again.name == "words"
    assert again.settings == BidirectionalSettings(**settings)
    assert again.get_config() == made.get_config()
    for got, wanted in zip(again(*batch(LENGTHS)), made(*batch(LENGTHS)), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("mode", "joined"), [("concat", [2, 3, 4, 5]), ("sum", [6, 8]), ("mul", [8, 15]), ("ave", [3, 4])]
)
def test_merge(mode: Any, joined: list[float]) -> None:
    """The directions are joined as the mode says."""
    assert merge(tf.constant([2.0, 3.0]), tf.constant([4.0, 5.0]), mode).numpy().tolist() == joined


def test_unknown_merge_mode() -> None:
    """Another mode is refused, with those that there are."""
    with pytest.raises(ValueError, match="concat, sum, mul, ave; got 'max'"):
        merge(tf.zeros([1]), tf.zeros([1]), "max")  # type: ignore[arg-type]


def test_reverse() -> None:
    """Each row is reversed within its length, and padding stays where it is."""
    sequences = tf.constant([[[1], [2], [9]], [[3], [4], [5]], [[6], [9], [9]]])

    assert reverse(sequences, tf.constant([2, 3, 1])).numpy()[:, :, 0].tolist() == [
        [2, 1, 9],
        [5, 4, 3],
        [6, 9, 9],
    ]


def test_last_step() -> None:
    """The last step of a row is the one at its length, not of the batch."""
    sequences = tf.constant([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])

    assert last_step(sequences, tf.constant([1, 2])).numpy().tolist() == [[1, 2], [7, 8]]
