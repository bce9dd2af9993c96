"""Files that are written completely or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from data.errors import UserError

MANIFEST = "manifest.json"
"""Description of a directory. It is not among the files that it lists."""
CARD = "README.md"
"""Model card of a directory. People may edit it: it is not among the files that the manifest lists."""
PARTIAL = ".textrnn-partial-"
"""Prefix of a file that is being written. A killed process may leave one."""

_PACKAGES = ("textrnn", "tensorflow", "keras", "tensorflow-datasets", "numpy")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory; rename it to `path` when it is complete and on disk.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        with contextlib.suppress(OSError):  # a file system that cannot sync directories
            _sync(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(partial)):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # on a read-only file system there is none
            partial.unlink(missing_ok=True)


def keep(path: Path, other: Path) -> None:
    """Give a file another name in addition, or instead where the file system has no hard links.

    It stays under the other name when the first one is given to a new file.
    """
    link = other.with_name(f"{PARTIAL}{uuid.uuid4().hex[:8]}-{other.name}")
    try:
        link.hardlink_to(path)
    except OSError:
        path.replace(other)
    else:
        link.replace(other)


def _sync(path: Path) -> None:
    """Wait until a file or a directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_of(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits; an empty string if there is none."""
    return _sha256(path) if path.is_file() else ""


def remove_partial_files(directory: Path) -> None:
    """Delete the temporary files that a killed process left in a directory; leave all other files alone."""
    for path in directory.glob(f"{PARTIAL}*"):
        if path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory; rename it to `path` when it is complete, delete it after an error.

    Raises:
        FileExistsError: `path` was created meanwhile; it is not changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        inner = Path(temporary) / path.name
        inner.mkdir()
        yield inner
        try:
            inner.rename(path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(errno.EEXIST, "was created meanwhile", str(path)) from None
            raise error


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def open_output(path: Path, option: str = "--output") -> Iterator[BinaryIO]:
    """Open a file that the user named, to write bytes.

    A regular file is replaced when the block ends without an error. A symbolic link is followed: its target
    is replaced. An existing file keeps its mode. A pipe, a device, or an open descriptor such as
    `/dev/stdout` is written directly.

    Args:
        path: the file.
        option: command-line option that gave it, for messages.

    Raises:
        UserError: `path` is a directory or cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_opened(path))
        except OSError as error:
            raise UserError(f"{option} {path}: cannot be written: {error.strerror}") from None
        yield file
        file.flush()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    number = _descriptor(path)
    if number is not None:  # a copy shares the position with the caller's descriptor
        with os.fdopen(os.dup(number), "wb") as file:
            yield file
        return
    if path.exists() and not path.is_file():
        # Neither created nor truncated: a directory is refused here.
        with os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    before = target.stat() if target.exists() else None
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with replaced(target) as partial:
        with partial.open("wb") as file:
            yield file
        if before is not None:
            with contextlib.suppress(PermissionError):
                os.chown(partial, before.st_uid, before.st_gid)
            partial.chmod(stat.S_IMODE(before.st_mode))


def _descriptor(path: Path) -> int | None:
    """Return the number of the open descriptor that a path names, if it names one."""
    names = {"/dev/stdout": 1, "/dev/stderr": 2}
    text = str(path.absolute())
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", text)
    return int(match[1]) if match else names.get(text)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that determine what a run computes."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def checksums(directory: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """Return the sha256 of files in a directory.

    Args:
        directory: the directory.
        names: relative paths; None: all files but the manifest and the model card.

    Returns:
        sha256 as hexadecimal digits, by relative path.
    """
    if names is None:
        found = (p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
        paths = (p for p in found if p != directory / CARD)
        names = (path.relative_to(directory).as_posix() for path in sorted(paths))
    return {name: _sha256(directory / name) for name in names}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_checksums(directory: Path, expected: dict[str, str]) -> None:
    """Compare the files of a directory with their checksums.

    Raises:
        UserError: a file is missing or changed; the message names the first one.
    """
    for name, digest in expected.items():
        path = directory / name
        if not path.is_file():
            raise UserError(f"{directory}: {name} is missing; the directory is incomplete")
        if _sha256(path) != digest:
            raise UserError(f"{directory}: {name} was changed (its sha256 is not the one in {MANIFEST})")
