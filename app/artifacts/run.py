"""The run directory: what a training leaves behind, and how it is found unchanged again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.artifacts.files import MANIFEST, checksums, new_directory, verify_checksums, write_text
from app.config import TaskConfig, dump_config, load_config
from data.errors import UserError
from data.vocabulary import read_vocabulary, write_vocabulary

CONFIG = "config.toml"
MODEL = "model.keras"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LONGEST = "longest_text"
"""Of those that were trained on, the one that takes most of a model."""


def remove_leftovers(run: Path) -> None:
    """Deletes what a killed process was writing beside a file of a run."""
    for path in [*run.glob(".*"), *(run / CHECKPOINTS).glob(".*")]:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Run:
    """An open run directory."""

    path: Path
    config: TaskConfig
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
    config: TaskConfig,
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
    return Run(path, load_config(file=path / CONFIG, require_format=True), manifest)
