"""`textrnn inspect`: what a trained network does, in general or with a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.inspection.text import TextView, view_text, view_text_of_export
from app.prediction.loading import find_export, load_predictor

if TYPE_CHECKING:
    from app.inspection.network import NetworkView

Note = Callable[[str], object]


def inspect_network(model: Path, *, note: Note = lambda sentence: None) -> NetworkView:
    """Measure the network of a run on a sample of its validation examples.

    Args:
        model: a run directory.
        note: called with a sentence about the native kernels.

    Raises:
        UserError: it is an export, or no run, or the data of the training is not there any more.
    """
    from app.inspection.network import view_network
    from app.inspection.opened import open_to_inspect

    return view_network(open_to_inspect(model, note=note))


def inspect_texts(model: Path, texts: Sequence[str], *, note: Note = lambda sentence: None) -> list[TextView]:
    """Look at texts with a run; with an export as far as its signatures go.

    Args:
        model: a run directory or an export.
        texts: at least one.
        note: called with a sentence about the native kernels.

    Raises:
        UserError: it is neither, a text has no tokens, or the signatures of the export explain nothing.
    """
    if find_export(model) is not None:
        predictor = load_predictor(model, note=note)
        return [view_text_of_export(predictor, text) for text in texts]
    from app.inspection.opened import open_to_inspect

    opened = open_to_inspect(model, note=note)
    return [view_text(opened, text) for text in texts]


def texts_as_json(views: Sequence[TextView]) -> dict[str, Any]:
    """Return the object that `inspect --json` prints for texts, at least one."""
    return {"task": views[0].task, "model": views[0].where, "texts": [view.as_json() for view in views]}
