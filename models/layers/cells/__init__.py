"""Recurrent cells by name: one file a cell. This module imports no TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from models.layers.cells.base import Cell


@dataclass(frozen=True)
class CellEntry:
    """What is known of a cell without importing its module."""

    module: str
    """The module, which defines `CELL`."""
    fixed: Mapping[str, object] = field(default_factory=dict)
    """Settings that have only one value with this cell; its Keras layer does not get them as arguments."""

    def refusal(self, settings: object) -> str:
        """Return which of these settings have another value and what is expected; empty if none has."""
        return ", ".join(
            f"{name} = {getattr(settings, name)!r} (expected {value!r})"
            for name, value in self.fixed.items()
            if getattr(settings, name, value) != value
        )


CELLS: dict[str, CellEntry] = {
    "simple": CellEntry("models.layers.cells.simple"),
    "gru": CellEntry("models.layers.cells.gru"),
    "lstm": CellEntry("models.layers.cells.lstm"),
    # The activation of the candidate is part of its definition; no weights lead from state to state.
    "mingru": CellEntry(
        "models.layers.cells.mingru",
        fixed={"activation": "tanh", "recurrent_dropout": 0.0, "weight_dropout": 0.0},
    ),
}
"""A new cell is a module and an entry here."""


def get_cell(name: str) -> Cell:
    """Return the record of a cell in `CELLS`."""
    cell: Cell = importlib.import_module(CELLS[name].module).CELL
    return cell


def cell_of(layer: keras.layers.RNN) -> Cell:
    """Return the record of the cell that a recurrent layer runs.

    Raises:
        ValueError: no cell in `CELLS` has a layer of this class.
    """
    for cell in map(get_cell, CELLS):
        if type(layer) is cell.layer:
            return cell
    raise ValueError(f"expected a recurrent layer of one of the cells {', '.join(CELLS)}, got {layer!r}")
