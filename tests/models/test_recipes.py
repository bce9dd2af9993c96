"""A pooling and a cell are added from outside: one module and one entry in a dictionary each."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.classifier import Classifier
from models.language_model import LanguageModel
from models.layers.cells import CELLS
from models.layers.cells.base import Cell
from models.layers.poolings import POOLINGS
from models.layers.poolings.base import PoolingFunction, real_steps
from models.seq2seq import Seq2Seq
from models.settings import ClassifierSettings, LanguageModelSettings, Seq2SeqSettings

IDS = tf.constant([[3, 4, 5, 6], [5, 3, 0, 0]])
LENGTHS = tf.constant([4, 2])


def min_and_max(_: Any, sequences: tf.Tensor, final: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    real = real_steps(sequences, lengths)
    low, high = (tf.where(real, sign * sequences, sequences.dtype.min) for sign in (-1, 1))
    return tf.concat([tf.reduce_max(low, axis=1), tf.reduce_max(high, axis=1)], axis=-1)


@keras.saving.register_keras_serializable("tests")
class PairCell(keras.layers.Layer):
    """A cell with two states: a leaky mean of its inputs, and the mean of that."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units
        self.state_size = [units, units]
        self.output_size = units

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")

    def call(self, inputs: tf.Tensor, states: Any, training: bool = False) -> Any:
        mean = (states[1] + tf.matmul(inputs, self.kernel)) / 2
        output = (states[0] + mean) / 2
        return output, [output, mean]


@keras.saving.register_keras_serializable("tests")
class Pair(keras.layers.RNN):
    def __init__(self, units: int, activation: str, recurrent_dropout: float, **options: Any) -> None:
        super().__init__(PairCell(units), **options)

    @property
    def units(self) -> int:
        return int(self.cell.units)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a pooling and a cell as an extension would."""
    pooling, cell = ModuleType("outside_pooling"), ModuleType("outside_cell")
    pooling.POOLING = PoolingFunction(min_and_max, output_size=lambda size: 2 * size)  # type: ignore[attr-defined]
    cell.CELL = Cell(  # type: ignore[attr-defined]
        Pair, states=2, step=lambda cell, x, state: tuple(cell(x, list(state))[1]), has_recurrent_kernel=False
    )
    monkeypatch.setitem(sys.modules, "outside_pooling", pooling)
    monkeypatch.setitem(sys.modules, "outside_cell", cell)
    monkeypatch.setitem(POOLINGS, "min_max", "outside_pooling")
    monkeypatch.setitem(CELLS, "pair", "outside_cell")


def test_added_pooling_and_cell(outside: None, tmp_path: Path) -> None:
    """A classifier with both has the right sizes, ignores padding, is saved, loaded and made portable."""
    settings = ClassifierSettings(cell="pair", pooling="min_max", units=3, embedding_size=4)
    model = Classifier(settings, vocabulary_size=9, classes=2)
    model.build()
    logits = model(IDS, LENGTHS)
    padded = model(tf.pad(IDS, [[0, 0], [0, 3]], constant_values=7), LENGTHS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert model.head.kernel.shape == (2 * 2 * 3, 2)
    np.testing.assert_allclose(padded, logits, rtol=1e-5)
    np.testing.assert_allclose(loaded(IDS, LENGTHS), logits, rtol=1e-6)
    loaded.make_portable()
    assert loaded.cudnn_layers() == 0
    np.testing.assert_allclose(loaded(IDS, LENGTHS), logits, rtol=1e-5)


def test_added_cell_generates(outside: None) -> None:
    """A language model carries both states; prompts of different lengths end where they end."""
    settings = LanguageModelSettings(cell="pair", units=3, embedding_size=4, layers=2)
    model = LanguageModel(settings, vocabulary_size=9)
    model.build()
    logits, _ = model(IDS)
    found, state = model.read(IDS, LENGTHS)

    assert len(tf.nest.flatten(state)) == 4
    np.testing.assert_allclose(found, [logits[0, 3], logits[1, 1]], rtol=1e-5, atol=1e-6)
    following, _ = model.step(IDS[:, 2], state)
    np.testing.assert_allclose(following[1], model(tf.constant([[5, 3, 0]]))[0][0, -1], rtol=1e-4, atol=1e-6)


def test_added_cell_translates(outside: None) -> None:
    """A translator reads and writes with it."""
    settings = Seq2SeqSettings(cell="pair", units=3, embedding_size=4)
    model = Seq2Seq(settings, source_vocabulary_size=9, target_vocabulary_size=9)
    model.build()
    assert model(IDS, LENGTHS, IDS).shape == [2, 4, 9]


def test_unknown_names() -> None:
    """Without the entries, their names are refused with those that there are."""
    with pytest.raises(ValueError, match="one of simple, gru, lstm, mingru"):
        ClassifierSettings(cell="pair")
    with pytest.raises(ValueError, match=r"one of last, .*; did you mean 'max_mean'"):
        ClassifierSettings(pooling="maxmean")
