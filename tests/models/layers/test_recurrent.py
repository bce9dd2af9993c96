from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from each_cell import each_cell, each_cell_with, each_cell_with_kernels
from numpy_cells import Activation, Array, relu, run_cell

from models.kernels.steps import last_step, reverse
from models.layers.cells import get_cell
from models.layers.recurrent import RecurrentStack, merge
from models.settings import BidirectionalSettings

WIDTH = 4
UNITS = 3
LENGTHS = [5, 1, 3, 2]
MERGE_MODES = ("concat", "sum", "mul", "ave")

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
    """Return rows of noise, the same with any padding; padding is larger noise."""
    steps = max(lengths) + padding
    sequences = np.random.default_rng(steps).normal(scale=9, size=(len(lengths), steps, WIDTH))
    for row, length in enumerate(lengths):
        sequences[row, :length] = np.random.default_rng([1, row]).normal(size=(length, WIDTH))
    return tf.constant(sequences, tf.float32), tf.constant(lengths, tf.int32)


JOIN: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda ahead, behind: np.concatenate([ahead, behind], axis=-1),
    "sum": lambda ahead, behind: ahead + behind,
    "mul": lambda ahead, behind: ahead * behind,
    "ave": lambda ahead, behind: 0.5 * ahead + 0.5 * behind,
}


def expected(made: RecurrentStack, steps: Array, activation: Activation = np.tanh) -> tuple[Array, Array]:
    """Return the top layer's outputs [T, D'] and the final one [D'] for one row without padding."""
    cell = made.settings.cell
    join = JOIN[made.settings.merge_mode]
    final = steps[-1]
    for i, forward in enumerate(made.forward):
        ahead = run_cell(cell, forward.get_weights(), steps, activation)
        if made.settings.bidirectional:
            # In the order of the text, so that its last output is the first.
            behind = run_cell(cell, made.backward[i].get_weights(), steps[::-1], activation)[::-1]
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
    """Real steps and final outputs are those of a NumPy loop over each row without padding."""
    assert_as_expected(stack(cell=cell, layers=layers, bidirectional=bidirectional, merge_mode=merge_mode))


@each_cell_with("activation")
def test_activation(cell: str) -> None:
    """The configured activation applies in both directions."""
    assert_as_expected(stack(cell=cell, bidirectional=True, activation="relu"), relu)


@each_cell
@each_direction
def test_padding_changes_no_output(cell: str, bidirectional: bool, merge_mode: str) -> None:
    """Neither the amount nor the content of padding, nor other rows, change real steps."""
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

    The loss of a row depends only on the row's number.
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
    """Gradients are those of each row alone, and 0 on padding."""
    made = stack(cell=cell, layers=2, bidirectional=bidirectional, merge_mode=merge_mode)
    rows = list(range(len(LENGTHS)))
    sequences, lengths = batch(LENGTHS, padding=2)
    of_weights, of_input = gradients(made, sequences, lengths, rows)
    alone = [
        gradients(made, tf.constant(sequences[row : row + 1, :length]), lengths[row : row + 1], [row])
        for row, length in enumerate(LENGTHS)
    ]

    assert len(of_weights) == len(made.weights)
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


@each_cell_with_kernels
@pytest.mark.parametrize("merge_mode", MERGE_MODES)
def test_agrees_with_keras(cell: str, merge_mode: str) -> None:
    """With the same weights, outputs are those of a masked `keras.layers.Bidirectional`."""
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
    """A graph of unknown batch size and length computes the same."""
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
    """A portable stack computes the same without the Keras layer of a cell with kernels."""
    made = stack(cell=cell, layers=2, bidirectional=True)
    before = made(*batch(LENGTHS))
    made.make_portable()
    if get_cell(cell).kernels:
        monkeypatch.delattr(get_cell(cell).layer, "call")

    real = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    (sequences, final), (all_before, final_before) = made(*batch(LENGTHS)), before
    np.testing.assert_allclose(final, final_before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sequences[real], all_before[real], rtol=1e-5, atol=1e-6)


@each_cell
def test_portable_stacks_learn(cell: str) -> None:
    """In training, and if gradients are needed, a portable stack runs the Keras layers."""
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
        ({"cell": "mingru", "bidirectional": True}, 0),
    ],
)
def test_cudnn_layers(settings: dict[str, Any], count: int) -> None:
    """Each direction of a layer that runs on cuDNN counts."""
    assert stack(**settings).cudnn_layers() == count


@each_cell_with("recurrent_dropout")
def test_inference_drops_nothing(cell: str) -> None:
    """Outside of training, neither kind of dropout changes the outputs."""
    settings: dict[str, Any] = {"cell": cell, "layers": 2, "bidirectional": True}
    plain = stack(**settings)
    dropping = stack(**settings, dropout=0.5, recurrent_dropout=0.5)

    for got, wanted in zip(dropping(*batch(LENGTHS)), plain(*batch(LENGTHS)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_dropout_is_between_layers() -> None:
    """In training, dropout applies before the second layer, not before the first.

    For 300 equal rows of one step, the second layer has one input for each choice of dropped features.
    """
    rows = tf.ones([300, 1, WIDTH])
    lengths = tf.ones([300], tf.int32)
    single = stack(cell="gru", dropout=0.5)
    double = stack(cell="gru", dropout=0.5, layers=2)

    assert len(np.unique(np.round(single(rows, lengths, training=True)[1], 4), axis=0)) == 1
    assert len(np.unique(np.round(double(rows, lengths, training=True)[1], 4), axis=0)) == 2**UNITS


@each_cell_with("recurrent_dropout")
def test_recurrent_dropout_is_in_both_directions(cell: str) -> None:
    """Recurrent dropout applies in each direction, from its second step on."""
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
    """Outputs of both directions are combined as in Keras."""
    assert merge(tf.constant([2.0, 3.0]), tf.constant([4.0, 5.0]), mode).numpy().tolist() == joined


def test_unknown_merge_mode() -> None:
    """An unknown mode is refused with the known modes."""
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
    """The last step of a row is the one at its length, not at that of the batch."""
    sequences = tf.constant([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])

    assert last_step(sequences, tf.constant([1, 2])).numpy().tolist() == [[1, 2], [7, 8]]
