"""Marks that run a test with each recurrent cell for which the tested fact holds."""

from __future__ import annotations

import pytest

from models.layers.cells import CELLS, get_cell

each_cell = pytest.mark.parametrize("cell", CELLS)
each_cell_with_kernels = pytest.mark.parametrize("cell", [name for name in CELLS if get_cell(name).kernels])
"""Cells whose portable inference does not run their Keras layer."""


def each_cell_with(*settings: str) -> pytest.MarkDecorator:
    """Return a mark of the cells with which these settings can be chosen."""
    names = [name for name, entry in CELLS.items() if not entry.fixed.keys() & set(settings)]
    return pytest.mark.parametrize("cell", names)
