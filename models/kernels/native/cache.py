"""Where compiled kernels are kept: a folder that only this user can change.

A library is code, and so is loaded from nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from models.kernels.native.build import LIBRARY, checksum

CHECKSUM = f"{LIBRARY}.sha256"
_LOCK = "lock"
_PARTIAL = "partial-"


class UnusableError(Exception):
    """The folder cannot be used; the text says why, in one line."""


def open_cache() -> Path:
    """Return the folder of all libraries; it is created if it is missing.

    Raises:
        UnusableError: there is no home, it cannot be written, or somebody else could change what is in it.
    """
    folder = Path(platformdirs.user_cache_dir("textrnn"), "kernels")
    if not folder.is_absolute():
        raise UnusableError("there is no home directory for a cache")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_private(folder)
    except OSError as error:
        raise UnusableError(f"{error.filename}: {error.strerror}") from None
    return folder


def _check_private(folder: Path) -> None:
    """Require that only this user, and the superuser, can change a folder or replace it."""
    folder = folder.resolve()
    owners = (os.geteuid(), 0)
    for path in (folder, *folder.parents):
        found = path.stat()
        # Groups of their own are common for users, and a folder like /tmp keeps what others have made.
        others = stat.S_IWOTH if path != folder else stat.S_IWOTH | stat.S_IWGRP
        is_sticky = path != folder and found.st_mode & stat.S_ISVTX
        if found.st_uid not in owners[: 1 if path == folder else 2]:
            raise UnusableError(f"{path} belongs to another user")
        if found.st_mode & others and not is_sticky:
            raise UnusableError(f"{path} can be written by other users")


def stored(cache: Path, key: str) -> Path | None:
    """Return the library of a key; None if there is none, or if it is damaged."""
    path = cache / key / LIBRARY
    try:
        expected = path.with_name(CHECKSUM).read_text(encoding="ascii")
        return path if checksum(path) == expected else None
    except (OSError, UnicodeDecodeError):
        return None


def store(cache: Path, key: str, make: Callable[[Path], None], timeout: float) -> Path:
    """Make the library of a key, unless another process makes it in the meantime.

    Args:
        cache: from `open_cache`.
        key: names the library.
        make: writes it to a path.
        timeout: seconds to wait for another process; then it is made anyway.

    Raises:
        OSError: the folder cannot be written.
    """
    with _locked(cache, timeout) as is_alone:
        if path := stored(cache, key):
            return path
        if is_alone:  # what a process that was killed has left
            for left in cache.glob(f"{_PARTIAL}*"):
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=_PARTIAL) as folder:
            made = Path(folder, "made")
            made.mkdir()
            make(made / LIBRARY)
            (made / CHECKSUM).write_text(checksum(made / LIBRARY), encoding="ascii")
            with contextlib.suppress(FileNotFoundError):
                (cache / key).rename(Path(folder, "damaged"))
            with contextlib.suppress(FileExistsError, NotADirectoryError):  # made by another process just now
                made.rename(cache / key)
    path = stored(cache, key)
    if path is None:
        raise OSError(f"{cache}: what was written cannot be read")
    return path


@contextlib.contextmanager
def _locked(cache: Path, timeout: float) -> Iterator[bool]:
    """Let one process at a time in; yield whether that can be relied on."""
    end = time.monotonic() + timeout
    with (cache / _LOCK).open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(0.05)
                    continue
                yield False
            except OSError:  # a file system without locks
                yield False
            else:
                yield True
            return
