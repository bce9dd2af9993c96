"""The picture of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.pictures import picture
from app.tuning.space import shown

FINISHED, PRUNED, UNFINISHED, FAILED = "finished", "stopped early", "unfinished", "failed"
"""States of a trial."""
BEST = "best"
MARKERS = {FINISHED: "o", PRUNED: "x", UNFINISHED: "^"}
COLUMNS = 3


def draw(table: Mapping[str, Any], output: Path) -> None:
    """Draw the metric of the trials: in their order, and by the values of each key.

    Args:
        table: of `tune`.
        output: an SVG or PNG file.

    Raises:
        UserError: Matplotlib is not installed, or the file cannot be written.
    """
    rows = [row for row in table["rows"] if row["value"] is not None]
    keys = table["keys"]
    lines = math.ceil((1 + len(keys)) / COLUMNS)
    with picture(output, 3.5 * COLUMNS, 3 * lines) as figure:
        grid = figure.subplots(lines, COLUMNS, sharey=True, squeeze=False)
        places = list(grid.flat)
        for axes in places[1 + len(keys) :]:
            axes.remove()
        for axes, key in zip(places, [None, *keys], strict=False):
            _panel(axes, key, rows, table)
        for line in grid:
            line[0].set_ylabel(f"{table['metric']}, validation split")
        places[0].legend()


def _panel(axes: Any, key: str | None, rows: Sequence[Mapping[str, Any]], table: Mapping[str, Any]) -> None:
    """Draw the trials by a key, or in their order."""
    dimension = {} if key is None else table["space"][key]
    names = [shown(value) for value in dimension.get("values", ())]

    def place(row: Mapping[str, Any]) -> float:
        if key is None:
            return float(row["trial"])
        value = row["values"][key]
        return names.index(shown(value)) if names else value

    for state, marker in MARKERS.items():
        own = [row for row in rows if row["state"] == state]
        if own:
            axes.scatter(
                [place(row) for row in own], [row["value"] for row in own], marker=marker, label=state
            )
    for row in rows:
        if row["trial"] == table["best"]:
            axes.scatter(
                [place(row)], [row["value"]], s=160, facecolors="none", edgecolors="black", label=BEST
            )
    if names:
        axes.set_xticks(range(len(names)), names)
    if dimension.get("log"):
        axes.set_xscale("log")
    axes.set_xlabel(key or "trial")
    axes.grid(axis="y", alpha=0.3)
