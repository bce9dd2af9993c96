"""The state of a training: everything that it needs to continue, written and read in this one place."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.files import keep, replaced
from app.artifacts.run import CHECKPOINTS
from app.training.selection import Selection
from data.errors import UserError

STATE = f"{CHECKPOINTS}/state.npz"
PREVIOUS = f"{CHECKPOINTS}/previous_state.npz"
MARK = b"sha256:"
"""Between the arrays of a state file and the digest of them, its last 32 bytes."""
_END = b"PK\x05\x06"
"""Beginning of the last 22 bytes of an archive of arrays."""
TINY = 1e-30
"""A gradient norm below it counts as this in a mean of logarithms."""


@dataclass
class Totals:
    """Sums over the steps of an epoch."""

    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    """Number of examples or tokens that loss and accuracy are means over."""
    examples: int = 0
    tokens: int = 0
    steps: int = 0
    clipped: int = 0
    norm: float = 0.0
    largest_norm: float = 0.0
    log_norm: float = 0.0
    """Sum of the logarithms of the norms."""
    norm_after: float = 0.0
    """Sum of the norms after clipping."""
    measured: int = 0
    """Number of steps in which the norms of layers were measured."""
    layer_norms: dict[str, float] = field(default_factory=dict)
    """Sums of these norms, by name."""
    seconds: float = 0.0

    def usual_norm(self) -> float:
        """Return the geometric mean of the gradient norms of all steps except the largest one."""
        if self.steps < 2:
            return self.largest_norm
        return math.exp((self.log_norm - log(self.largest_norm)) / (self.steps - 1))


def log(norm: float) -> float:
    """Return the logarithm of a gradient norm, which may be 0."""
    return math.log(max(norm, TINY))


@dataclass
class TrainingState:
    """Progress of a training. Weights, optimizer and seed generators are arrays that are saved with it."""

    epoch: int = 0
    """Number of finished epochs."""
    step: int = 0
    """Number of finished steps of the current epoch."""
    totals: Totals = field(default_factory=Totals)
    """Of the current epoch."""
    selection: Selection = field(default_factory=Selection)
    model: str = ""
    """sha256 of the file with the weights of the best epoch; empty before the first epoch."""
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    """Lines of metrics.jsonl."""


class DamagedStateError(UserError):
    """A state file that is not complete."""


def save_state(run: Path, variables: Sequence[Any], state: TrainingState) -> None:
    """Write the state of a training atomically with its checksum, and keep the state before it.

    Args:
        run: the run directory.
        variables: of Keras or TensorFlow: model and optimizer, seed generators of dropout included.
        state: progress.
    """
    arrays: dict[str, Any] = {
        f"{i}:{_name(variable)}": _as_saved(np.asarray(variable)) for i, variable in enumerate(variables)
    }
    arrays["progress"] = np.array(json.dumps(asdict(state)))
    path = run / STATE
    path.parent.mkdir(exist_ok=True)
    with replaced(path) as partial:
        np.savez(partial, **arrays)
        with partial.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0, os.SEEK_END)
            file.write(MARK + digest)
        if path.exists():
            keep(path, run / PREVIOUS)


def restore_state(run: Path, variables: Sequence[Any]) -> tuple[TrainingState | None, str]:
    """Read what `save_state` wrote into the variables; a damaged last state gives way to the one before it.

    Args:
        run: the run directory.
        variables: as they were given to `save_state`.

    Returns:
        the progress, or None if no state was written yet; and a message if the last state is damaged or
        missing, so that the one before it is used.

    Raises:
        UserError: all states are damaged, or they do not belong to these variables.
    """
    state, message = _newest(run, lambda path: _restore(path, variables))
    if message:  # else the next `save_state` would keep the damaged file as the one before
        keep(run / PREVIOUS, run / STATE)
    return state, message


def read_progress(run: Path) -> TrainingState | None:
    """Read the progress alone, of the state that `restore_state` would read; None if none was written yet.

    Raises:
        UserError: all states are damaged.
    """
    return _newest(run, lambda path: _progress(path, _read(path)))[0]


def _newest(run: Path, read: Callable[[Path], TrainingState]) -> tuple[TrainingState | None, str]:
    """Read the last state, or if it is damaged or missing the one before it; see `restore_state`."""
    path, previous = run / STATE, run / PREVIOUS
    if not path.exists() and not previous.exists():
        return None, ""
    try:
        return read(path), ""
    except DamagedStateError as error:
        if not previous.exists():
            raise
        return read(previous), f"{error}; resuming from the state before it"


def _read(path: Path) -> dict[str, Any]:
    """Return the arrays of a state file, all of them: a truncated one is found at its last array."""
    try:
        _check(path)
        with path.open("rb") as file, np.load(file) as saved:  # closed if it is damaged, too
            arrays = {name: saved[name] for name in saved.files}
        arrays["progress"] = json.loads(str(arrays["progress"]))
    except (ValueError, KeyError, EOFError, OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DamagedStateError(f"{path}: cannot be read ({error})") from None
    return arrays


def _check(path: Path) -> None:
    """Compare a state file with its checksum; a file of an earlier version has none.

    Raises:
        ValueError: they differ.
    """
    digest, length = hashlib.sha256(), path.stat().st_size - len(MARK) - hashlib.sha256().digest_size
    with path.open("rb") as file:
        file.seek(max(length, 0))
        end = file.read()
        if not end.startswith(MARK):
            if end[-len(_END) - 18 :].startswith(_END):
                return
            raise ValueError("its end is missing")
        file.seek(0)
        while length > 0 and (block := file.read(min(length, 1 << 20))):
            digest.update(block)
            length -= len(block)
        if end != MARK + digest.digest():
            raise ValueError("its checksum is another one")


def _progress(path: Path, arrays: dict[str, Any]) -> TrainingState:
    progress = arrays.pop("progress")
    try:
        totals, selection = Totals(**progress.pop("totals")), Selection(**progress.pop("selection"))
        return TrainingState(**progress, totals=totals, selection=selection)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is not the state of this training ({error})") from None


def _restore(path: Path, variables: Sequence[Any]) -> TrainingState:
    arrays = _read(path)
    state = _progress(path, arrays)
    try:
        for (name, array), variable in zip(arrays.items(), variables, strict=True):
            if name.partition(":")[2] != _name(variable):
                raise ValueError(f"{name} where {_name(variable)} was expected")
            variable.assign(array)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not the state of this training ({error})") from None
    return state


def _as_saved(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "biufU" else array.astype(np.float32)


def _name(variable: Any) -> str:
    return str(getattr(variable, "path", variable.name))
