"""Recurrent cells by name: one file a cell. This module imports no TensorFlow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from models.layers.cells.base import Cell

CELLS: dict[str, str] = {
    "simple": "models.layers.cells.simple",
    "gru": "models.layers.cells.gru",
    "lstm": "models.layers.cells.lstm",
    "mingru": "models.layers.cells.mingru",
}
"""The module of each cell, which defines `CELL`. A new cell is a module and an entry here."""


def get_cell(name: str) -> Cell:
    """Return the record of a cell in `CELLS`."""
    cell: Cell = importlib.import_module(CELLS[name]).CELL
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
