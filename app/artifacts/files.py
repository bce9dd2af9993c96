"""Files and directories that are written whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from data.errors import UserError

MANIFEST = "manifest.json"
"""What a directory says of itself; it is not among the files that it lists."""

_PACKAGES = ("textrnn", "tensorflow", "keras", "tensorflow-datasets", "numpy")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when it is whole and on disk."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to fill; it becomes `path` when it is whole, and is gone after an error.

    Raises:
        FileExistsError: `path` came to be meanwhile; that one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
        inner = Path(beside) / path.name
        inner.mkdir()
        yield inner
        try:
            inner.rename(path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(errno.EEXIST, "came to be meanwhile", str(path)) from None
            raise error


def write_text(path: Path, text: str) -> None:
    """Writes a small file whole or not at all."""
    with replaced(path) as beside:
        beside.write_text(text, encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def checksums(directory: Path) -> dict[str, str]:
    """sha256 of every file below a directory but the manifest, by its path there."""
    sums = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST):
        with path.open("rb") as file:
            sums[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def verify_checksums(directory: Path, expected: dict[str, str]) -> None:
    """Compares the files of a directory with their checksums.

    Raises:
        UserError: names the first file that is missing or changed.
    """
    for name, digest in expected.items():
        path = directory / name
        if not path.is_file():
            raise UserError(f"{directory}: {name} is missing; the directory is not whole")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise UserError(f"{directory}: {name} was changed (its sha256 is not the manifest's)")
