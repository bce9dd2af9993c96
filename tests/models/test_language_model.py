from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.decoding.beam import beam_search
from models.decoding.sampling import sample
from models.language_model import LanguageModel, State
from models.layers.cells import get_cell
from models.settings import LanguageModelSettings
from models.text.tokens import END_ID

Array = NDArray[Any]

VOCABULARY = 11
LENGTHS = [7, 1, 4, 6]
LABELS = np.array([2, 0, 1, 2], np.int32)

# Cells of Keras; `mingru` has tests of its own in layers/cells and in test_mingru_networks.
KERAS_CELLS = ("simple", "gru", "lstm")
each_cell = pytest.mark.parametrize("cell", KERAS_CELLS)
# What changes the way from a token to the logits.
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep, labels": {"layers": 2, "labels": 3},
    "tied": {"tie_embeddings": True, "embedding_size": 5, "layers": 2},
    "tied, projected": {"tie_embeddings": True},
}
each_shape = pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Make what is drawn the same in each run."""
    keras.utils.set_random_seed(1)


def model(**settings: Any) -> LanguageModel:
    """Return a built model whose weights are all random: Keras's own biases are zeros and ones."""
    defaults = {"embedding_size": 4, "units": 5, "dropout": 0.0, "word_dropout": 0.0, "tie_embeddings": False}
    labels = settings.pop("labels", 0)
    made = LanguageModel(
        LanguageModelSettings(**{**defaults, **settings}), vocabulary_size=VOCABULARY, labels=labels
    )
    made.build()
    generator = np.random.default_rng(0)
    for variable in made.trainable_variables:
        variable.assign(generator.normal(scale=0.7, size=variable.shape))
    return made


def batch(padding: int = 0, fill: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return rows of random tokens, the same with any padding."""
    token_ids = np.full([len(LENGTHS), max(LENGTHS) + padding], fill)
    for row, length in enumerate(LENGTHS):
        token_ids[row, :length] = np.random.default_rng(row).integers(2, VOCABULARY, length)
    return tf.constant(token_ids, tf.int32), tf.constant(LENGTHS)


def labels_of(made: LanguageModel) -> tf.Tensor | None:
    return tf.constant(LABELS) if made.labels else None


def random_state(made: LanguageModel, rows: int) -> State:
    generator = np.random.default_rng(9)
    return tf.nest.map_structure(
        lambda zeros: tf.constant(generator.uniform(-1, 1, zeros.shape), tf.float32), made.initial_state(rows)
    )


def assert_close(got: Any, wanted: Any) -> None:
    tf.nest.assert_same_structure(got, wanted)
    for one, other in zip(tf.nest.flatten(got), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@each_cell
def test_forward_pass(cell: str) -> None:
    """The logits are the head's of what Keras's layers make of the embedding, one on top of the other."""
    made = model(cell=cell, layers=2)
    token_ids, _ = batch()
    state = random_state(made, len(LENGTHS))
    logits, behind = made(token_ids, state)

    sequences = made.embedding.embeddings.numpy()[token_ids.numpy()]
    for layer, start, end in zip(made.recurrent, state, behind, strict=True):
        sequences, *last = layer(sequences, initial_state=list(start))
        assert_close(end, tuple(last))
    assert_close(logits, sequences.numpy() @ made.head.kernel.numpy() + made.head.bias.numpy())
    assert logits.shape == [4, 7, VOCABULARY]


@each_cell
@pytest.mark.parametrize("settings", [*SHAPES.values(), {"activation": "relu"}], ids=[*SHAPES, "relu"])
def test_steps_are_the_layers(cell: str, settings: dict[str, Any]) -> None:
    """Token by token, the numbers are those of the whole sequence."""
    made = model(cell=cell, **settings)
    token_ids, _ = batch()
    state = random_state(made, len(LENGTHS))
    logits, behind = made(token_ids, state, labels_of(made))

    for t in range(token_ids.shape[1]):
        of_step, state = made.step(token_ids[:, t], state, labels_of(made))
        assert_close(of_step, logits[:, t])
    assert_close(state, behind)


@each_cell
@each_shape
def test_pieces_are_the_whole(cell: str, settings: dict[str, Any]) -> None:
    """A stream that is read in pieces with its state carried on gives what it gives in one."""
    made = model(cell=cell, **settings)
    token_ids, _ = batch()
    labels = labels_of(made)
    whole, behind = made(token_ids, None, labels)
    state = made.initial_state(len(LENGTHS))
    pieces = []
    for piece in (token_ids[:, :2], token_ids[:, 2:3], token_ids[:, 3:]):
        logits, state = made(piece, state, labels)
        pieces.append(logits)

    assert_close(tf.concat(pieces, axis=1), whole)
    assert_close(state, behind)


@each_cell
@each_shape
def test_prompts_end_where_they_end(cell: str, settings: dict[str, Any]) -> None:
    """A prompt's logits and state are those at its own last token, whatever pads it or stands beside it."""
    made = model(cell=cell, **settings)
    labels = labels_of(made)
    state = random_state(made, len(LENGTHS))
    read = tf.function(made.read)

    for padding, fill in ((0, 0), (3, 5)):
        token_ids, lengths = batch(padding, fill)
        logits, behind = read(token_ids, lengths, state, labels)
        for row, length in enumerate(LENGTHS):
            alone = tf.nest.map_structure(lambda tensor, row=row: tensor[row : row + 1], state)
            label = None if labels is None else labels[row : row + 1]
            expected, expected_state = made(token_ids[row : row + 1, :length], alone, label)
            assert_close(logits[row], expected[0, -1])
            assert_close(
                tf.nest.map_structure(lambda tensor, row=row: tensor[row], behind),
                tf.nest.map_structure(lambda tensor: tensor[0], expected_state),
            )


def test_a_prompt_starts_from_zeros() -> None:
    """Without a state, the stream is a new one."""
    made = model()
    assert_close(made.read(*batch()), made.read(*batch(), made.initial_state(4)))
    assert all(not np.any(tensor) for tensor in tf.nest.flatten(made.initial_state(4)))


@pytest.mark.parametrize(
    ("settings", "window"), [*((settings, 3) for settings in SHAPES.values()), ({}, 1), ({}, 7), ({}, 100)]
)
def test_score(settings: dict[str, Any], window: int) -> None:
    """A document's score is the sum of -log p of its own tokens, the first predicted from the end sign."""
    made = model(**settings)
    labels = labels_of(made)
    score = tf.function(lambda *args: made.score(*args, window=window))

    for padding, fill in ((0, 0), (3, 5)):
        token_ids, lengths = batch(padding, fill)
        nats, tokens = score(token_ids, lengths, labels)
        assert tokens.numpy().tolist() == LENGTHS
        for row, length in enumerate(LENGTHS):
            text = token_ids.numpy()[row : row + 1, :length]
            label = None if labels is None else labels[row : row + 1]
            logits, _ = made(np.concatenate([[[END_ID]], text[:, :-1]], axis=1), None, label)
            log_p = logits.numpy()[0] - np.log(np.exp(logits.numpy()[0]).sum(axis=1, keepdims=True))
            assert nats[row].numpy() == pytest.approx(-log_p[np.arange(length), text[0]].sum(), rel=1e-5)


def test_order_of_rows_does_not_matter() -> None:
    """Rows in another order give the same in that order."""
    made = model(labels=3)
    token_ids, lengths = batch()
    order = [2, 0, 3, 1]
    mixed = [tf.gather(tensor, order) for tensor in (token_ids, lengths, labels_of(made))]

    nats, _ = made.score(token_ids, lengths, LABELS)
    assert_close(made.score(*mixed)[0], tf.gather(nats, order))
    logits, _ = made.read(token_ids, lengths, labels=LABELS)
    assert_close(made.read(*mixed[:2], labels=mixed[2])[0], tf.gather(logits, order))


def train(made: LanguageModel, rows: Array, labels: Any = None, steps: int = 120) -> float:
    """Train on rows that all start a document; return the last loss in nats a token."""
    optimizer = keras.optimizers.Adam(0.02)
    read = np.concatenate([np.full([len(rows), 1], END_ID), rows[:, :-1]], axis=1)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits, _ = made(read, None, labels, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=rows, logits=logits))
        variables = made.trainable_variables
        gradients = tape.gradient(loss, variables)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply(gradients, variables)
        return loss

    for _ in range(steps):
        loss = step()
    return float(loss)


@pytest.mark.parametrize(
    ("cell", "tie_embeddings"), [("simple", False), ("gru", False), ("lstm", False), ("lstm", True)]
)
def test_learns_a_text(cell: str, tie_embeddings: bool) -> None:
    """A text that needs its past is learned by heart, and then written."""
    text = np.array([[3, 4, 5, 3, 4, 6, 3, 4, 7, 3, 8, END_ID]], np.int32)
    made = model(cell=cell, units=16, embedding_size=8, tie_embeddings=tie_embeddings)

    assert train(made, text) < 0.05
    nats = float(made.score(text, np.array([12]))[0][0])
    assert nats < 12 * 0.05
    logits, state = made.read([[END_ID, 3], [END_ID, 0]], [2, 1])
    ids, lengths, log_p, *_ = sample(made.step, state, logits, length=30, temperature=0.0, end_id=END_ID)
    assert ids.numpy().tolist() == [[4, 5, 3, 4, 6, 3, 4, 7, 3, 8, 0], text[0, :-1].tolist()]
    assert lengths.numpy().tolist() == [10, 11]
    assert float(log_p[1]) == pytest.approx(-nats, abs=1e-4)
    found, _, scores = beam_search(made.step, state, logits, end_id=END_ID, max_length=30, width=3)
    assert found[1, 0, :11].numpy().tolist() == text[0, :-1].tolist()
    assert float(scores[1, 0]) == pytest.approx(-nats, abs=1e-4)


def test_learns_what_labels_mean() -> None:
    """Texts differ by their label alone; "none given" is a label of its own."""
    made = model(cell="gru", units=16, embedding_size=8, labels=2)
    rows = np.array([[3, 4, 5], [6, 7, 8], [9, 10, 9]], np.int32)

    assert train(made, rows, np.array([0, 1, 2])) < 0.05
    for label, text in zip(([0], [1], None), rows, strict=True):
        logits, state = made.read([[END_ID]], [1], labels=label)
        ids, *_ = sample(
            lambda ids, state, label=label: made.step(ids, state, label),
            state,
            logits,
            length=3,
            temperature=0.0,
        )
        assert ids[0].numpy().tolist() == text.tolist()


def test_labels_where_there_are_none() -> None:
    """A model without labels refuses them."""
    made = model()
    for call in (
        lambda: made.step([3], made.initial_state(1), [0]),
        lambda: made.read([[3]], [1], None, [0]),
    ):
        with pytest.raises(ValueError, match="made without any"):
            call()


def test_no_layers() -> None:
    """A model without recurrent layers is refused."""
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        model(layers=0)


def test_tied_embeddings_are_one_variable() -> None:
    """The head has no weights of its own but a bias and, between unequal widths, a projection."""
    tied = model(units=4, embedding_size=4, tie_embeddings=True)
    projected = model(units=5, embedding_size=4, tie_embeddings=True)
    table = tied.embedding.embeddings

    def shapes(made: LanguageModel) -> list[tuple[int, ...]]:
        return sorted(
            tuple(variable.shape) for variable in made.trainable_variables if "recurrent" not in variable.path
        )

    assert shapes(tied) == [(VOCABULARY,), (VOCABULARY, 4)]
    assert shapes(projected) == [(5, 4), (VOCABULARY,), (VOCABULARY, 4)]
    assert shapes(model(units=4)) == [(4, VOCABULARY), (VOCABULARY,), (VOCABULARY, 4)]
    logits, state = tied.read([[3]], [1])
    assert_close(logits, state[-1][0].numpy() @ table.numpy().T + tied.head.bias.numpy())
    table.assign(table + 1.0)
    assert_close(tied.head(state[-1][0]), state[-1][0].numpy() @ table.numpy().T + tied.head.bias.numpy())


@each_cell
def test_weight_dropout(cell: str) -> None:
    """In training, one choice of recurrent weights is dropped for all rows and steps, and the others grow."""
    made = model(cell=cell, units=40, weight_dropout=0.4)
    kernel = made.recurrent[0].cell.recurrent_kernel
    before = kernel.numpy()
    rows = tf.constant([[3, 4, 5, 6, 7]] * 6)
    with tf.GradientTape() as tape:
        logits, _ = made(rows, training=True)
    gradient = tape.gradient(logits, kernel).numpy()
    dropped = gradient == 0

    assert abs(dropped.mean() - 0.4) < 0.06
    for row in logits[1:]:
        np.testing.assert_allclose(row, logits[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(kernel, before)
    # What is left grows so that the mean stays: with just these weights, a model out of training is the same.
    thinned = model(cell=cell, units=40)
    for variable, other in zip(thinned.trainable_variables, made.trainable_variables, strict=True):
        variable.assign(other)
    thinned.recurrent[0].cell.recurrent_kernel.assign(np.where(dropped, 0, before / 0.6))
    assert_close(logits, thinned(rows)[0])


@each_cell
def test_training_alone_drops(cell: str) -> None:
    """Out of training, dropout of any kind changes nothing; in training, each one does."""
    kinds = ("dropout", "weight_dropout", "recurrent_dropout", "word_dropout")
    plain = model(cell=cell, layers=2)
    token_ids, lengths = batch()
    expected = plain(token_ids)
    assert_close(plain(token_ids, training=True), expected)

    dropping = model(cell=cell, layers=2, **dict.fromkeys(kinds, 0.5))
    assert_close(dropping(token_ids), expected)
    assert_close(dropping.read(token_ids, lengths), plain.read(token_ids, lengths))
    for kind in kinds:
        logits, _ = model(cell=cell, layers=2, **{kind: 0.5})(token_ids, training=True)
        assert np.abs(logits - expected[0]).max() > 0.1


def test_dropout_starts_where_it_was_left() -> None:
    """All that is random is in the model's variables: set back, training drops the same again."""
    made = model(layers=2, dropout=0.3, weight_dropout=0.4, recurrent_dropout=0.2, word_dropout=0.2)
    step = tf.function(lambda: made(batch()[0], training=True)[0])
    step()
    left = [variable.numpy() for variable in made.variables]
    after = [step().numpy() for _ in range(3)]
    for variable, value in zip(made.variables, left, strict=True):
        variable.assign(value)

    for logits in after:
        np.testing.assert_array_equal(step(), logits)
    assert np.abs(after[0] - after[1]).max() > 0.01


@pytest.mark.parametrize("kind", ["weight_dropout", "recurrent_dropout"])
def test_each_step_drops_anew(kind: str) -> None:
    """A graph traced once draws another choice at each call, also of layers under a choice of weights."""
    made = model(**{"weight_dropout": 1e-9, kind: 0.5})
    step = tf.function(lambda: made(batch()[0], training=True)[0])

    assert np.abs(step() - step()).max() > 0.01


@each_shape
def test_save_and_load(settings: dict[str, Any], tmp_path: Path) -> None:
    """A saved model is the same one again, with its settings and numbers."""
    made = model(weight_dropout=0.3, word_dropout=0.1, **settings)
    made.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    token_ids, lengths = batch()

    assert isinstance(again, LanguageModel)
    assert again.settings == made.settings
    assert len(again.variables) == len(made.variables)
    assert_close(again(token_ids), made(token_ids))
    assert_close(
        again.score(token_ids, lengths, labels_of(made)), made.score(token_ids, lengths, labels_of(made))
    )
    assert_close(again.step([3, 4], made.initial_state(2)), made.step([3, 4], made.initial_state(2)))


@each_cell
def test_portable(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable model gives the same numbers, also from a state, and runs no layer of Keras."""
    made = model(cell=cell, layers=2)
    before = made(batch()[0])
    after = made(batch()[0], before[1])
    made.make_portable()
    monkeypatch.delattr(get_cell(cell).layer, "call")

    assert_close(made(batch()[0]), before)
    assert_close(made(batch()[0], before[1]), after)


def test_in_a_saved_model(tmp_path: Path) -> None:
    """Reading, writing and scoring work in a session that knows nothing of this program."""
    made = model(labels=3, layers=2, tie_embeddings=True)
    made.make_portable()
    token_ids, lengths = batch()

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32)] + [tf.TensorSpec([None], tf.int32)] * 2
    )
    def decode(token_ids: tf.Tensor, lengths: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, state = made.read(token_ids, lengths, labels=labels)
        ids, *_ = sample(lambda ids, state: made.step(ids, state, labels), state, logits, length=9)
        return {"ids": ids, "logits": logits, "nats": made.score(token_ids, lengths, labels)[0]}

    module = tf.Module()
    module.decode = decode
    module.weights = decode.get_concrete_function().variables
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": decode})
    expected = decode(token_ids, lengths, tf.constant(LABELS))

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path)).signature_def[
            "serving_default"
        ]
        values = {"token_ids": token_ids.numpy(), "lengths": LENGTHS, "labels": LABELS}
        got = session.run(
            {name: tensor.name for name, tensor in signature.outputs.items()},
            {signature.inputs[name].name: value for name, value in values.items()},
        )
    assert_close(got, {name: tensor.numpy() for name, tensor in expected.items()})
