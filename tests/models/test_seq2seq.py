from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.layers.attention import Attention
from models.layers.cells import get_cell
from models.losses import token_cross_entropy
from models.seq2seq import FIXED, Seq2Seq, State
from models.settings import Seq2SeqSettings
from models.text.tokens import END_ID, UNKNOWN_ID

Array = NDArray[np.float64]

SOURCE_SIZE = 11
TARGET_SIZE = 13
UNITS = 3
WIDTH = 4
SOURCE_LENGTHS = [4, 1, 5, 2]
TARGET_LENGTHS = [3, 5, 1, 2]
ATTENTIONS = ("additive", "multiplicative", "none")

# Digits to be written backwards; 0 and 1 are special ids and 2 is the end.
TOY = ["34567", "76543", "5", "354", "4536", "77"]

# Cells of Keras; `mingru` has tests of its own in layers/cells and in test_mingru_networks.
KERAS_CELLS = ("simple", "gru", "lstm")
each_cell = pytest.mark.parametrize("cell", KERAS_CELLS)
each_attention = pytest.mark.parametrize("attention", ATTENTIONS)
each_feeding = pytest.mark.parametrize("input_feeding", [False, True])


def model_of(**settings: Any) -> Seq2Seq:
    """Return a tiny built model."""
    defaults: dict[str, Any] = {
        "source_vocabulary_size": SOURCE_SIZE,
        "target_vocabulary_size": TARGET_SIZE,
        **{"embedding_size": WIDTH, "units": UNITS, "attention": "multiplicative"},
        **{"dropout": 0.0, "word_dropout": 0.0},
    }
    arguments = {**defaults, **settings}
    own = {name: arguments.pop(name) for name in list(arguments) if name in Seq2SeqSettings.model_fields}
    model = Seq2Seq(Seq2SeqSettings(**own), **arguments)
    model.build()
    return model


def randomized(**settings: Any) -> Seq2Seq:
    """Return a tiny model whose weights are all random, biases too; the same ones in each model."""
    model = model_of(**settings)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
    return model


def rows(lengths: list[int], size: int, padding: int = 0, padding_id: int = 0) -> tf.Tensor:
    """Return rows of random known tokens, the same with any padding."""
    ids = np.full((len(lengths), max(lengths) + padding), padding_id)
    for row, length in enumerate(lengths):
        ids[row, :length] = np.random.default_rng([size, row]).integers(3, size, length)
    return tf.constant(ids, tf.int32)


def batch(padding: int = 0, padding_id: int = 0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return source ids, their lengths, and what the decoder reads."""
    return (
        rows(SOURCE_LENGTHS, SOURCE_SIZE, padding, padding_id),
        tf.constant(SOURCE_LENGTHS, tf.int32),
        rows(TARGET_LENGTHS, TARGET_SIZE, padding, padding_id),
    )


def stepwise(model: Seq2Seq, source: tf.Tensor, lengths: tf.Tensor, target: tf.Tensor) -> list[Any]:
    """Return the logits [N, V] and the state of each step."""
    state = model.encode(source, lengths)
    steps = []
    for ids in tf.unstack(target, axis=1):
        logits, state = model.step(ids, state)
        steps.append((logits, state))
    return steps


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def cell_step(cell: str, weights: list[Array], x: Array, states: list[Array]) -> list[Array]:
    """Run one step of a cell, the hidden state first among its states."""
    kernel, recurrent, bias = weights
    h = states[0]
    if cell == "simple":
        return [np.tanh(x @ kernel + h @ recurrent + bias)]
    if cell == "lstm":
        i, f, candidate, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(candidate)
        return [sigmoid(o) * np.tanh(c), c]
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3)
    h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    return [z * h + (1 - z) * np.tanh(x_h + r * h_h)]


def attend(model: Seq2Seq, query: Array, memory: Array) -> Array:
    """Return the weights of a source's steps [S]."""
    keys = memory @ model.attention.of_memory.get_weights()[0]
    if model.settings.attention == "additive":
        kernel, bias = model.attention.of_query.get_weights()
        scores = np.tanh(query @ kernel + bias + keys) @ model.attention.score.numpy()
    else:
        scores = keys @ query
    return np.exp(scores) / np.exp(scores).sum()


def expected(model: Seq2Seq, source: list[int], target: list[int]) -> Array:
    """Return the logits [T, V] of one row, worked out step by step without padding."""
    cell, layers = model.settings.cell, model.settings.layers
    embedded = model.source_embedding(tf.constant([source]))
    memory, final = (x.numpy()[0] for x in model.encoder(embedded, tf.constant([len(source)])))
    kernel, bias = model.bridge.get_weights()
    each = np.split(np.tanh(final @ kernel + bias), layers * (2 if cell == "lstm" else 1))
    hidden = [each[2 * i : 2 * i + 2] if cell == "lstm" else [each[i]] for i in range(layers)]
    table = model.target_embedding.get_weights()[0]
    fed = np.zeros(model.attentional_size)
    logits = []
    for token in target:
        x = table[token]
        if not model.attention:
            x = np.concatenate([x, final])
        if model.input_feeding:
            x = np.concatenate([x, fed])
        for i, layer in enumerate(model.decoder):
            hidden[i] = cell_step(cell, layer.get_weights(), x, hidden[i])
            x = hidden[i][0]
        context = attend(model, x, memory) @ memory if model.attention else final
        fed = np.tanh(np.concatenate([context, x]) @ model.attentional.get_weights()[0])
        matrix = table.T if model.settings.tie_embeddings else model.head.get_weights()[0]
        logits.append(fed @ matrix + model.bias.numpy())
    return np.array(logits)


@each_cell
@each_attention
@each_feeding
def test_forward_pass(cell: str, attention: str, input_feeding: bool) -> None:
    """Logits are those of a loop over each row's own steps, in training and step by step."""
    model = randomized(
        cell=cell,
        attention=attention,
        input_feeding=input_feeding,
        layers=2,
        tie_embeddings=attention != "additive",
    )
    source, lengths, target = batch(padding=1)
    logits = model(source, lengths, target, training=True)
    steps = [logits for logits, _ in stepwise(model, source, lengths, target)]

    assert logits.shape == [4, 6, TARGET_SIZE]
    np.testing.assert_allclose(tf.stack(steps, axis=1), logits, rtol=1e-5, atol=1e-5)
    for row, (s, t) in enumerate(zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True)):
        alone = expected(model, source[row, :s].numpy().tolist(), target[row, :t].numpy().tolist())
        np.testing.assert_allclose(logits[row, :t], alone, rtol=1e-4, atol=1e-5)


def nats_and_gradients(model: Seq2Seq, padding: int, padding_id: int = 0) -> tuple[Array, list[Array]]:
    """Return each row's loss, and the gradients of their sum for all weights."""
    source, lengths, target = batch(padding, padding_id)
    with tf.GradientTape() as tape:
        real = tf.sequence_mask(TARGET_LENGTHS, target.shape[1])
        nats = tf.reduce_sum(token_cross_entropy(model(source, lengths, target), target, real, 0.1), axis=1)
        loss = tf.reduce_sum(nats)
    gradients = tape.gradient(loss, model.trainable_variables)
    return nats.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


@each_attention
@each_feeding
def test_padding_changes_nothing(attention: str, input_feeding: bool) -> None:
    """Neither more padding on both sides nor what it holds changes a row's loss or any gradient."""
    model = randomized(attention=attention, input_feeding=input_feeding, layers=2)
    nats, gradients = nats_and_gradients(model, padding=0)
    padded_nats, padded_gradients = nats_and_gradients(model, padding=3, padding_id=7)

    np.testing.assert_allclose(padded_nats, nats, rtol=1e-5)
    for weight, padded, plain in zip(model.trainable_variables, padded_gradients, gradients, strict=True):
        assert np.any(plain), weight.path
        np.testing.assert_allclose(padded, plain, rtol=1e-4, atol=1e-5, err_msg=weight.path)


@each_attention
@each_feeding
def test_order_of_rows_does_not_matter(attention: str, input_feeding: bool) -> None:
    """Rows in another order give the same logits in that order."""
    model = randomized(attention=attention, input_feeding=input_feeding)
    order = [2, 0, 3, 1]
    logits = model(*batch())
    shuffled = model(*(tf.gather(each, order) for each in batch()))

    for i, row in enumerate(order):
        length = TARGET_LENGTHS[row]
        np.testing.assert_allclose(shuffled[i, :length], logits[row, :length], rtol=1e-5, atol=1e-6)


@each_attention
def test_rows_of_a_state_can_be_repeated_and_moved(attention: str) -> None:
    """A state holds everything by rows, as a beam search needs: each row goes on from where it was."""
    model = randomized(attention=attention, layers=2)
    source, lengths, target = batch()
    states = [state for _, state in stepwise(model, source, lengths, target)]
    again = [3, 1, 1, 0, 2, 2]
    logits, after = model.step(target[:, 0], states[-1])
    moved = tf.nest.map_structure(lambda each: tf.gather(each, again), states[-1])
    moved_logits, moved_after = model.step(tf.gather(target[:, 0], again), moved)

    tf.nest.assert_same_structure(moved_after, states[0])
    np.testing.assert_allclose(moved_logits, tf.gather(logits, again), rtol=1e-5, atol=1e-6)
    for got, wanted in zip(tf.nest.flatten(moved_after), tf.nest.flatten(after), strict=True):
        np.testing.assert_allclose(got, tf.gather(wanted, again), rtol=1e-5, atol=1e-6)
    for name in set(FIXED) & states[0].keys():
        np.testing.assert_array_equal(after[name], model.encode(source, lengths)[name])


@pytest.mark.parametrize("attention", ["additive", "multiplicative"])
@each_feeding
def test_attention_in_the_state(attention: str, input_feeding: bool) -> None:
    """Each step's weights sum to 1 over the source, and coverage is their sum, but 1 on padding."""
    model = randomized(attention=attention, input_feeding=input_feeding)
    source, lengths, target = batch(padding=2)
    steps = [state for _, state in stepwise(model, source, lengths, target)]
    weights = np.stack([state["attention"] for state in steps])

    first = model.encode(source, lengths)
    padding = np.arange(source.shape[1]) >= np.array(SOURCE_LENGTHS)[:, np.newaxis]
    assert not np.any(first["attention"])
    np.testing.assert_array_equal(first["coverage"], padding)
    np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=1e-5)
    assert not np.any(weights[:, padding])
    assert np.std(weights[:, 0, : SOURCE_LENGTHS[0]]) > 0.003
    for i, state in enumerate(steps):
        np.testing.assert_allclose(state["coverage"], weights[: i + 1].sum(axis=0) + padding, rtol=1e-5)
    expected_weights = attend(
        model, steps[0]["hidden"][0][0][2].numpy(), first["memory"][2, : SOURCE_LENGTHS[2]].numpy()
    )
    np.testing.assert_allclose(weights[0, 2, : SOURCE_LENGTHS[2]], expected_weights, rtol=1e-4)


def test_no_attention_in_the_state() -> None:
    """Without attention there is nothing to see of it, and the source's steps are not held."""
    assert model_of(attention="none").encode(*batch()[:2]).keys() == {"hidden", "attentional", "context"}


@pytest.mark.parametrize("attention", ["additive", "none"])
def test_one_graph_for_all_shapes(attention: str) -> None:
    """A training step of unknown sizes can be compiled, and gives the gradients of eager steps."""
    model = randomized(cell="gru", attention=attention, bidirectional=False)
    ids, lengths = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)

    def gradients(source: tf.Tensor, lengths: tf.Tensor, target: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(source, lengths, target, training=True) ** 2)
        found = tape.gradient(loss, model.trainable_variables)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    graph = tf.function(gradients, input_signature=[ids, lengths, ids])
    graph(*(each[:1] for each in batch(padding=1)))
    for got, wanted in zip(graph(*batch()), gradients(*batch()), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def greedy(model: Seq2Seq, source: tf.Tensor, lengths: tf.Tensor, most: int = 10) -> list[str]:
    """Return the digits that the model writes."""
    state = model.encode(source, lengths)
    ids = tf.fill([source.shape[0]], END_ID)
    written = []
    for _ in range(most):
        logits, state = model.step(ids, state)
        ids = tf.argmax(logits, axis=1, output_type=tf.int32)
        written.append(ids.numpy())
    return ["".join(map(str, row)).split(str(END_ID))[0] for row in np.transpose(written)]


@pytest.mark.parametrize(
    ("cell", "attention", "input_feeding"),
    [
        ("lstm", "multiplicative", True),
        ("gru", "additive", False),
        ("gru", "none", False),
    ],
)
def test_learns_to_reverse(cell: str, attention: str, input_feeding: bool) -> None:
    """Six rows of digits are written backwards to the last one, and ended."""
    keras.utils.set_random_seed(0)
    model = model_of(
        source_vocabulary_size=8,
        target_vocabulary_size=8,
        embedding_size=16,
        units=16,
        cell=cell,
        bidirectional=input_feeding,
        attention=attention,
        input_feeding=input_feeding,
        shared=True,
    )
    source = tf.ragged.constant([[int(d) for d in text] for text in TOY], dtype=tf.int32)
    target = tf.ragged.constant(
        [[END_ID, *(int(d) for d in reversed(text)), END_ID] for text in TOY], dtype=tf.int32
    ).to_tensor()
    source, lengths = source.to_tensor(), tf.cast(source.row_lengths(), tf.int32)
    optimizer = keras.optimizers.Adam(0.02)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = model(source, lengths, target[:, :-1], training=True)
            real = tf.sequence_mask(lengths + 1, target.shape[1] - 1)
            nats = token_cross_entropy(logits, target[:, 1:], real, 0.1)
            loss = tf.reduce_sum(nats) / tf.reduce_sum(tf.cast(lengths + 1, tf.float32))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    optimizer.build(model.trainable_variables)
    for _ in range(120):
        step()

    assert greedy(model, source, lengths) == [text[::-1] for text in TOY]


@pytest.mark.parametrize(("cell", "attention"), list(zip(KERAS_CELLS, ATTENTIONS, strict=True)))
def test_saved_and_loaded(cell: str, attention: str, tmp_path: Path) -> None:
    """A loaded model gives the same numbers and has the same settings."""
    model = randomized(cell=cell, attention=attention, layers=2, tie_embeddings=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert loaded.settings == model.settings
    np.testing.assert_array_equal(loaded(*batch()), model(*batch()))


def test_config() -> None:
    """The configuration makes the same model again, with no setting left out."""
    settings: dict[str, Any] = {
        "source_vocabulary_size": 9,
        "target_vocabulary_size": 9,
        "embedding_size": 5,
        "cell": "gru",
        "units": 4,
        "layers": 2,
        "bidirectional": False,
        "merge_mode": "ave",
        "attention": "additive",
        "input_feeding": False,
        "shared": True,
        "tie_embeddings": False,
        "dropout": 0.5,
        "recurrent_dropout": 0.25,
        "word_dropout": 0.125,
        "activation": "relu",
    }
    again = Seq2Seq.from_config(model_of(**settings, name="translator").get_config())

    assert {**again.settings.model_dump(), **again.arguments} == settings
    assert again.name == "translator"


def shapes(**settings: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's weights by the names of their layers."""
    return {"/".join(weight.path.split("/")[-2:]): weight.shape for weight in model_of(**settings).weights}


def test_tables_of_embeddings() -> None:
    """Sides share one table, and the output matrix is one, only where that is asked for."""
    same = {"source_vocabulary_size": 17, "target_vocabulary_size": 17}
    tables = {
        (shared, tied): sorted(
            name
            for name, shape in shapes(**same, shared=shared, tie_embeddings=tied).items()
            if 17 in shape and len(shape) == 2
        )
        for shared, tied in product([False, True], repeat=2)
    }

    source, target, head = "source_embedding/embeddings", "target_embedding/embeddings", "head/kernel"
    assert tables[False, False] == [head, source, target]
    assert tables[False, True] == [source, target]
    assert tables[True, False] == [head, target]
    assert tables[True, True] == [target]


@pytest.mark.parametrize(
    ("settings", "memory"),
    [
        ({"bidirectional": False}, UNITS),
        ({"bidirectional": True}, 2 * UNITS),
        ({"bidirectional": True, "merge_mode": "sum"}, UNITS),
    ],
)
def test_memory(settings: dict[str, Any], memory: int) -> None:
    """What is attended to has the width that the encoder's directions are joined to."""
    assert model_of(**settings).encode(*batch()[:2])["memory"].shape == [4, 5, memory]


def test_inference_drops_nothing() -> None:
    """Out of training, dropout of no kind changes anything."""
    dropping = {"dropout": 0.5, "recurrent_dropout": 0.5, "word_dropout": 0.5}

    np.testing.assert_allclose(randomized(**dropping)(*batch()), randomized()(*batch()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("attention", "input_feeding"), [("multiplicative", True), ("none", False)])
@pytest.mark.parametrize("dropped", ["dropout", "recurrent_dropout", "word_dropout"])
def test_training_drops(dropped: str, attention: str, input_feeding: bool) -> None:
    """In training, each kind of dropout changes the logits, another way each time."""
    model = randomized(**{dropped: 0.5}, attention=attention, input_feeding=input_feeding, layers=2)
    plain = model(*batch())
    first, second = (model(*batch(), training=True) for _ in range(2))

    assert np.abs(first - plain).max() > 0.01
    assert np.abs(first - second).max() > 0.01


def test_word_dropout_on_both_sides() -> None:
    """All words dropped, a model reads nothing but unknown tokens."""
    model = randomized()
    model.source_word_dropout.rate = model.target_word_dropout.rate = 1.0
    source, lengths, target = batch()
    unknown = model(tf.fill(source.shape, UNKNOWN_ID), lengths, tf.fill(target.shape, UNKNOWN_ID))

    np.testing.assert_allclose(model(source, lengths, target, training=True), unknown, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_portable(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable model's encoder gives the same numbers, and runs no layer of Keras."""
    model = model_of(layers=2, cell=cell)
    source, lengths, _ = batch()
    before = model.encode(source, lengths)
    model.make_portable()
    monkeypatch.delattr(get_cell(cell).layer, "call")
    after = model.encode(source, lengths)

    real = np.arange(source.shape[1]) < np.array(lengths)[:, None]
    np.testing.assert_allclose(after["memory"][real], before["memory"][real], rtol=1e-5, atol=1e-6)
    for got, wanted in zip(tf.nest.flatten(after["hidden"]), tf.nest.flatten(before["hidden"]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shared": True}, "one vocabulary, got sizes 11 and 13"),
        ({"layers": 0}, "greater than or equal to 1"),
        ({"attention": "dot"}, "'additive', 'multiplicative' or 'none'"),
    ],
)
def test_refused_settings(settings: dict[str, Any], message: str) -> None:
    """Settings that make no model are refused, with the rule and the value."""
    with pytest.raises(ValueError, match=message):
        model_of(**settings)


def test_attention_is_found_again() -> None:
    """The layer alone can be made from its configuration."""
    again = Attention.from_config(Attention("additive", 7, name="look").get_config())

    assert (again.kind, again.units, again.name) == ("additive", 7, "look")


def test_state_is_typed() -> None:
    """A state is a dictionary, whose entries a search may look at by name."""
    state: State = model_of().encode(*batch()[:2])

    assert {"attention", "coverage", *FIXED[:3]} < state.keys()
