from __future__ import annotations

from itertools import cycle, product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from each_cell import each_cell
from numpy_cells import Array, step_cell
from seq2seq_models import (
    ATTENTIONS,
    SOURCE_LENGTHS,
    TARGET_LENGTHS,
    TARGET_SIZE,
    UNITS,
    batch,
    each_attention,
    each_feeding,
    model_of,
    randomized,
)

from models.layers.attention import Attention
from models.layers.cells import CELLS, get_cell
from models.seq2seq import FIXED, Seq2Seq, State


def stepwise(model: Seq2Seq, source: tf.Tensor, lengths: tf.Tensor, target: tf.Tensor) -> list[Any]:
    """Return the logits [N, V] and the state of each step."""
    state = model.encode(source, lengths)
    steps = []
    for ids in tf.unstack(target, axis=1):
        logits, state = model.step(ids, state)
        steps.append((logits, state))
    return steps


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
    """Return the logits [T, V] of one row, computed step by step without padding."""
    cell, layers = model.settings.cell, model.settings.layers
    embedded = model.source_embedding(tf.constant([source]))
    memory, final = (x.numpy()[0] for x in model.encoder(embedded, tf.constant([len(source)])))
    kernel, bias = model.bridge.get_weights()
    each = np.split(np.tanh(final @ kernel + bias), layers * get_cell(cell).states)
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
            hidden[i] = step_cell(cell, layer.get_weights(), x, hidden[i])
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
    """All tensors of a state have one row for each text, which can be repeated and moved."""
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
    """The weights of each step sum to 1 over the source; coverage is their sum, and 1 on padding."""
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
    """Without attention the state has no attention weights and no memory."""
    assert model_of(attention="none").encode(*batch()[:2]).keys() == {"hidden", "attentional", "context"}


@pytest.mark.parametrize(("cell", "attention"), list(zip(CELLS, cycle(ATTENTIONS))))
def test_saved_and_loaded(cell: str, attention: str, tmp_path: Path) -> None:
    """A loaded model has the same settings and computes the same logits."""
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
        "locked_dropout": True,
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
    """Embeddings and output weights are shared only as configured."""
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
    """The memory has the output size of the encoder."""
    assert model_of(**settings).encode(*batch()[:2])["memory"].shape == [4, 5, memory]


@each_cell
def test_portable(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portable encoder computes the same without the Keras layer of a cell with kernels."""
    model = model_of(layers=2, cell=cell)
    source, lengths, _ = batch()
    before = model.encode(source, lengths)
    model.make_portable()
    if get_cell(cell).kernels:
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
    """Invalid settings are refused with the rule and the value."""
    with pytest.raises(ValueError, match=message):
        model_of(**settings)


def test_attention_is_found_again() -> None:
    """The configuration of the attention layer makes the same layer again."""
    again = Attention.from_config(Attention("additive", 7, name="look").get_config())

    assert (again.kind, again.units, again.name) == ("additive", 7, "look")


def test_state_is_typed() -> None:
    """A state is a dictionary with entries by name."""
    state: State = model_of().encode(*batch()[:2])

    assert {"attention", "coverage", *FIXED[:3]} < state.keys()
