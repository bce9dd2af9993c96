"""The file with the weights of the best epoch, and the one before it: the last two states need them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.artifacts.files import digest_of, keep, replaced
from app.artifacts.run import CHECKPOINTS, MODEL

PREVIOUS_MODEL = f"{CHECKPOINTS}/previous_model.keras"


def write_model(run: Path, write: Callable[[Path], None]) -> str:
    """Write the weights of a new best epoch, and keep those before until the next time.

    Args:
        run: the run directory.
        write: writes them to a path.

    Returns:
        sha256 of the file, for `TrainingState.model`.
    """
    path = run / MODEL
    with replaced(path) as partial:
        write(partial)
        if path.exists():
            keep(path, run / PREVIOUS_MODEL)
    return digest_of(path)


def restore_model(run: Path, digest: str) -> bool:
    """Let `model.keras` be the file that belongs to a state, which may be the one before the last.

    Args:
        run: the run directory.
        digest: sha256 of the file; empty: there is none yet, or the state is of an earlier version.

    Returns:
        whether it is there.
    """
    if digest in ("", digest_of(run / MODEL)):
        return True
    if digest != digest_of(run / PREVIOUS_MODEL):
        return False
    keep(run / PREVIOUS_MODEL, run / MODEL)
    return True
