from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from each_cell import each_cell, each_cell_with
from language_models import (
    LABELS,
    LENGTHS,
    SHAPES,
    VOCABULARY,
    assert_close,
    batch,
    each_shape,
    labels_of,
    model,
    random_state,
)

from models.decoding.sampling import sample
from models.language_model import LanguageModel
from models.layers.cells import get_cell
from models.text.tokens import END_ID


@pytest.fixture(autouse=True)
def seed() -> None:
    """Set the random seed, so that each run draws the same numbers."""
    keras.utils.set_random_seed(1)


@each_cell
def test_forward_pass(cell: str) -> None:
    """Logits are those of the head after the Keras layers, applied one after the other."""
    made = model(cell=cell, layers=2)
    token_ids, _ = batch()
    state = random_state(made, len(LENGTHS))
    logits, after = made(token_ids, state)

    sequences = made.embedding.embeddings.numpy()[token_ids.numpy()]
    for layer, start, end in zip(made.recurrent, state, after, strict=True):
        sequences, *last = layer(sequences, initial_state=list(start))
        assert_close(end, tuple(last))
    assert_close(logits, sequences.numpy() @ made.head.kernel.numpy() + made.head.bias.numpy())
    assert logits.shape == [4, 7, VOCABULARY]


@each_cell
@each_shape
def test_steps_are_the_layers(cell: str, settings: dict[str, Any]) -> None:
    """Single steps compute the logits and states of the whole sequence."""
    made = model(cell=cell, **settings)
    token_ids, _ = batch()
    state = random_state(made, len(LENGTHS))
    logits, after = made(token_ids, state, labels_of(made))

    for t in range(token_ids.shape[1]):
        of_step, state = made.step(token_ids[:, t], state, labels_of(made))
        assert_close(of_step, logits[:, t])
    assert_close(state, after)


@each_cell_with("activation")
def test_steps_with_an_activation(cell: str) -> None:
    """Single steps have the activation of the layers."""
    test_steps_are_the_layers(cell, {"activation": "relu"})


@each_cell
@each_shape
def test_pieces_are_the_whole(cell: str, settings: dict[str, Any]) -> None:
    """A stream in pieces with a carried state has the logits of the whole stream."""
    made = model(cell=cell, **settings)
    token_ids, _ = batch()
    labels = labels_of(made)
    whole, after = made(token_ids, None, labels)
    state = made.initial_state(len(LENGTHS))
    pieces = []
    for piece in (token_ids[:, :2], token_ids[:, 2:3], token_ids[:, 3:]):
        logits, state = made(piece, state, labels)
        pieces.append(logits)

    assert_close(tf.concat(pieces, axis=1), whole)
    assert_close(state, after)


@each_cell
@each_shape
def test_prompts_end_where_they_end(cell: str, settings: dict[str, Any]) -> None:
    """Logits and state of a prompt are those at its last token, with any padding and other rows."""
    made = model(cell=cell, **settings)
    labels = labels_of(made)
    state = random_state(made, len(LENGTHS))
    read = tf.function(made.prefill)

    for padding, fill in ((0, 0), (3, 5)):
        token_ids, lengths = batch(padding, fill)
        logits, after = read(token_ids, lengths, state, labels)
        for row, length in enumerate(LENGTHS):
            alone = tf.nest.map_structure(lambda tensor, row=row: tensor[row : row + 1], state)
            label = None if labels is None else labels[row : row + 1]
            expected, expected_state = made(token_ids[row : row + 1, :length], alone, label)
            assert_close(logits[row], expected[0, -1])
            assert_close(
                tf.nest.map_structure(lambda tensor, row=row: tensor[row], after),
                tf.nest.map_structure(lambda tensor: tensor[0], expected_state),
            )


def test_a_prompt_starts_from_zeros() -> None:
    """Without a state, a stream starts with zeros."""
    made = model()
    assert_close(made.prefill(*batch()), made.prefill(*batch(), made.initial_state(4)))
    assert all(not np.any(tensor) for tensor in tf.nest.flatten(made.initial_state(4)))


@pytest.mark.parametrize(
    ("settings", "window"), [*((settings, 3) for settings in SHAPES.values()), ({}, 1), ({}, 7), ({}, 100)]
)
def test_score(settings: dict[str, Any], window: int) -> None:
    """The score of a document is the sum of -log p of its tokens, the first one after the end token."""
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
    logits, _ = made.prefill(token_ids, lengths, labels=LABELS)
    assert_close(made.prefill(*mixed[:2], labels=mixed[2])[0], tf.gather(logits, order))


def test_labels_where_there_are_none() -> None:
    """A model without labels refuses them."""
    made = model()
    for call in (
        lambda: made.step([3], made.initial_state(1), [0]),
        lambda: made.prefill([[3]], [1], None, [0]),
    ):
        with pytest.raises(ValueError, match="made without any"):
            call()


def test_no_layers() -> None:
    """A model without recurrent layers is refused."""
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        model(layers=0)


def test_tied_embeddings_are_one_variable() -> None:
    """The only weights of a tied head are a bias and, for unequal sizes, a projection."""
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
    logits, state = tied.prefill([[3]], [1])
    assert_close(logits, state[-1][0].numpy() @ table.numpy().T + tied.head.bias.numpy())
    table.assign(table + 1.0)
    assert_close(tied.head(state[-1][0]), state[-1][0].numpy() @ table.numpy().T + tied.head.bias.numpy())


@each_shape
def test_save_and_load(settings: dict[str, Any], tmp_path: Path) -> None:
    """A loaded model has the settings and the outputs of the saved one."""
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
    """A portable model computes the same, also from a state, without Keras layers of cells with kernels."""
    made = model(cell=cell, layers=2)
    before = made(batch()[0])
    after = made(batch()[0], before[1])
    made.make_portable()
    if get_cell(cell).kernels:
        monkeypatch.delattr(get_cell(cell).layer, "call")

    assert_close(made(batch()[0]), before)
    assert_close(made(batch()[0], before[1]), after)


def test_in_a_saved_model(tmp_path: Path) -> None:
    """Prompts, sampling and scores are the same in a TF1 session without this package."""
    made = model(labels=3, layers=2, tie_embeddings=True)
    made.make_portable()
    token_ids, lengths = batch()

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32)] + [tf.TensorSpec([None], tf.int32)] * 2
    )
    def decode(token_ids: tf.Tensor, lengths: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, state = made.prefill(token_ids, lengths, labels=labels)
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
