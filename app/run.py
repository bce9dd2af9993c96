"""The run directory: what a training leaves behind, and how it is found unchanged again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from app.config import Config, dump_config, load_config
from data.errors import UserError
from data.vocabulary import read_vocabulary, write_vocabulary

CONFIG = "config.toml"
MANIFEST = "manifest.json"
MODEL = "model.keras"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LONGEST = "longest_text"
"""Of those that were trained on, the one that takes most of a model."""

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


def remove_leftovers(run: Path) -> None:
    """Deletes what a killed process was writing beside a file of a run."""
    for path in [*run.glob(".*"), *(run / CHECKPOINTS).glob(".*")]:
        path.unlink(missing_ok=True)


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


@dataclass(frozen=True)
class Run:
    """An open run directory."""

    path: Path
    config: Config
    manifest: dict[str, Any]

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.manifest["task"])

    def vocabularies(self) -> dict[str, list[bytes]]:
        """What ids stand for: tokens, labels, …, each in the order of their ids."""
        return {path.stem: read_vocabulary(path) for path in sorted(self.path.glob("*.txt"))}

    def longest(self) -> bytes:
        """The longest text that the run was trained on."""
        return (self.path / LONGEST).read_bytes()


def create_run(
    path: Path,
    config: Config,
    manifest: dict[str, Any],
    vocabularies: Mapping[str, Sequence[bytes]],
    longest: bytes,
) -> None:
    """Makes a run directory whose training has yet to begin.

    Args:
        path: must not exist.
        config: resolved.
        manifest: what is known of the run: task, dataset, …
        vocabularies: tokens, labels, …, each in the order of their ids; a file `NAME.txt` for each.
        longest: of the texts to train on.
    """
    with new_directory(path) as directory:
        (directory / CONFIG).write_text(dump_config(config), encoding="utf-8")
        for name, tokens in vocabularies.items():
            write_vocabulary(directory / f"{name}.txt", tokens)
        (directory / LONGEST).write_bytes(longest)
        (directory / CHECKPOINTS).mkdir()
        (directory / MANIFEST).write_text(json.dumps({**manifest, "complete": False, "files": {}}, indent=2))


def complete_run(path: Path, **facts: Any) -> None:
    """Marks the training as finished and seals the files with their checksums."""
    remove_leftovers(path)
    manifest = read_manifest(path)
    manifest |= {**facts, "complete": True, "files": checksums(path)}
    write_text(path / MANIFEST, json.dumps(manifest, indent=2))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory.

    Raises:
        UserError: there is no such directory, or it is no run.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such directory; expected a run that 'textrnn train' made")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and {"task", "complete", "files"} <= set(manifest):
            return manifest
    except (OSError, ValueError):
        pass
    raise UserError(f"{path}: no run (it has no {MANIFEST} of one); expected one that 'textrnn train' made")


def open_run(path: Path) -> Run:
    """A finished run, its files compared with the manifest.

    Raises:
        UserError: no run, not finished, or changed since.
    """
    manifest = read_manifest(path)
    if not manifest["complete"]:
        raise UserError(f"{path}: its training is not finished; give its 'train' command again with --resume")
    verify_checksums(path, manifest["files"])
    return Run(path, load_config(file=path / CONFIG), manifest)
