"""What a trained network does, measured on validation examples: `inspect` without a text."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from app.inspection.context import Context, measure_context
from app.inspection.layers import LayerMeasure, measure_layer, steps_back
from app.inspection.matrices import Matrix, measure_matrices
from app.inspection.memory import Decay, Memory, measure_memory, shown
from app.inspection.opened import Opened

LAYER_ROWS = 64
"""Most rows that layers are measured on, one step after the other."""


class NetworkView(NamedTuple):
    """The memory, the layers and the recurrent matrices of a network."""

    where: str
    task: str
    what: str
    """What an output is."""
    rows: int
    """Number of validation examples, or windows of them."""
    main: str
    """The sequence that outputs are steps of."""
    memory: Memory
    context: Context
    layers: list[LayerMeasure]
    matrices: dict[str, dict[str, Matrix]]
    """By layer and by gate; empty for a layer without a recurrent matrix."""

    def sentences(self) -> list[str]:
        """Return what the numbers mean."""
        found = [*self.memory.sentences(), self.context.sentence()]
        for layer in self.layers:
            for name, decay in layer.gradients.items():
                if decay.factor is not None:
                    found.append(f"{layer.name}: {_changes(name, decay)}.")
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the object that `inspect --json` prints."""
        ahead = self.memory.ahead
        return {
            "task": self.task,
            "model": self.where,
            "output": self.what,
            "rows": self.rows,
            "memory": {
                "horizon": self.memory.back[self.main].half,
                "back": {name: decay.as_json() for name, decay in self.memory.back.items()},
                "ahead": None if ahead is None else ahead.as_json(),
            },
            "context": self.context.as_json(),
            "layers": [layer.as_json() for layer in self.layers],
            "matrices": {
                layer: {name: matrix._asdict() for name, matrix in own.items()}
                for layer, own in self.matrices.items()
            },
            "sentences": self.sentences(),
        }


def view_network(opened: Opened) -> NetworkView:
    """Measure a network on a sample of its validation examples.

    Raises:
        UserError: the data of the training is not there any more.
    """
    inspection = opened.inspection
    vectors = opened.validation
    rows = len(vectors.lengths[inspection.main])
    few = np.sort(np.random.default_rng(0).permutation(rows)[:LAYER_ROWS])
    return NetworkView(
        where=str(opened.run.path),
        task=opened.run.task,
        what=inspection.what,
        rows=rows,
        main=inspection.main,
        memory=measure_memory(inspection, vectors),
        context=measure_context(inspection, vectors),
        layers=[measure_layer(layer) for layer in inspection.layers(vectors.rows(few))],
        matrices={name: measure_matrices(layer) for name, layer in inspection.matrices().items()},
    )


def _changes(name: str, decay: Decay) -> str:
    """Return what a step does to a gradient: `each step keeps 93 % of the gradient of …`."""
    assert decay.factor is not None
    of = "hidden state" if name == "hidden" else "memory cell"
    if decay.factor > 1:
        return f"each step multiplies the gradient of the {of} by {decay.factor:.2f}: it explodes"
    return (
        f"each step keeps {decay.factor:.0%} of the gradient of the {of}; half of it reaches back "
        f"{shown(steps_back(decay))} steps or more"
    )
