"""A lock on a run directory: one process at a time trains it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from app.artifacts.run import CHECKPOINTS
from data.errors import UserError

LOCK = f"{CHECKPOINTS}/lock"


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which the system releases when the process ends, however it ends.

    A file system without locks is used without one.

    Args:
        run: the directory.

    Raises:
        UserError: another process, or another training of this one, holds the lock.
    """
    path = run / LOCK
    path.parent.mkdir(exist_ok=True)
    while True:
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise UserError(
                    f"{run}: {holder} is training it; wait until it ends, or stop it and run the command "
                    "again with --resume"
                ) from None
            except OSError:
                yield
                return
            if not _is(path, file.fileno()):  # the process that held it has deleted the file since
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is(path: Path, descriptor: int) -> bool:
    """Return whether a path names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
