"""The state of a training: everything that it needs to go on, written and read in this one place."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import replaced
from app.artifacts.run import CHECKPOINTS
from data.errors import UserError

STATE = f"{CHECKPOINTS}/state.npz"


@dataclass
class Sums:
    """What an epoch added up so far."""

    loss: float = 0.0
    hits: float = 0.0
    count: float = 0.0
    """What loss and hits are means over: rows, or tokens."""
    rows: int = 0
    tokens: int = 0
    steps: int = 0
    clipped: int = 0
    norm: float = 0.0
    largest_norm: float = 0.0
    seconds: float = 0.0


@dataclass
class Progress:
    """Where a training stands; the weights, the optimizer and the seed generators are arrays beside it."""

    epoch: int = 0
    step: int = 0
    """Batches of this epoch that are done."""
    sums: Sums = field(default_factory=Sums)
    best: list[float] | None = None
    """Of the best epoch: larger is better, compared element by element."""
    best_epoch: int = -1
    stale_epochs: int = 0
    """Epochs since the best one."""
    plateau_epochs: int = 0
    """Epochs since the best one or the last fall of the step size."""
    finished: bool = False
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """The lines of metrics.jsonl."""


def _as_saved(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "biufU" else array.astype(np.float32)


def _name(variable: Any) -> str:
    """Of a variable of Keras, or of TensorFlow."""
    return str(getattr(variable, "path", variable.name))


def save_state(run: Path, variables: Sequence[Any], progress: Progress) -> None:
    """Writes the state of a training, whole or not at all.

    Args:
        run: the run directory.
        variables: Keras's or TensorFlow's: of model and optimizer, the dropout seed generators among them.
        progress: where the training stands.
    """
    arrays: dict[str, Any] = {
        f"{i}:{_name(variable)}": _as_saved(np.asarray(variable)) for i, variable in enumerate(variables)
    }
    arrays["progress"] = np.array(json.dumps(asdict(progress)))
    with replaced(run / STATE) as beside:
        np.savez(beside, **arrays)


def restore_state(run: Path, variables: Sequence[Any]) -> Progress | None:
    """Reads what `save_state` wrote into the variables; None where nothing was written yet.

    Raises:
        UserError: the file does not belong to these variables.
    """
    path = run / STATE
    if not path.exists():
        return None
    try:
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        progress = json.loads(str(arrays.pop("progress")))
        for (name, array), variable in zip(arrays.items(), variables, strict=True):
            if name.partition(":")[2] != _name(variable):
                raise ValueError(f"{name} where {_name(variable)} was expected")
            variable.assign(array)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is not the state of this training ({error})") from None
    return Progress(**{**progress, "sums": Sums(**progress["sums"])})
