"""The run directory: what training writes, and how it is opened again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from app.artifacts.files import (
    MANIFEST,
    checksums,
    new_directory,
    remove_partial_files,
    verify_checksums,
    write_text,
)
from app.artifacts.manifests import (
    NotAManifestError,
    Pretrained,
    RunManifest,
    read_manifest,
    write_manifest,
)
from app.artifacts.preprocessing import Facts, Preprocessing, preprocessing_files, read_preprocessing
from app.config import TaskConfig, dump_config, load_config
from data.errors import UserError

CONFIG = "config.toml"
MODEL = "model.keras"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
TEACHER = "teacher"
"""Probabilities that the network is trained on, of a run of `textrnn distill`."""
PRETRAINING = "pretraining"
"""Run of the language model of `model.pretrained = "learn"`."""
LONGEST = "longest_text"
"""The training text with the most bytes."""

F = TypeVar("F", bound=Facts)


@dataclass(frozen=True)
class Run:
    """A run directory whose training is finished and whose files are unchanged."""

    path: Path
    config: TaskConfig
    manifest: RunManifest

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.manifest.task

    def preprocessing(self, facts: type[F]) -> Preprocessing[F]:
        """Return the preprocessing of the model; `facts` is the type of the facts of its task."""
        return read_preprocessing(self.path, facts)

    def longest(self) -> bytes:
        """Return the longest training text."""
        return (self.path / LONGEST).read_bytes()


def create_run(
    path: Path,
    config: TaskConfig,
    manifest: RunManifest,
    preprocessing: Preprocessing[Any],
    longest: bytes,
    write_teacher: Callable[[Path], None] | None = None,
) -> None:
    """Create a run directory before training begins.

    Args:
        path: must not exist.
        config: resolved.
        manifest: describes the run; not complete.
        preprocessing: vocabularies and facts.
        longest: the longest training text.
        write_teacher: writes the probabilities of teachers to a directory; None: there are none.
    """
    with new_directory(path) as directory:
        (directory / CONFIG).write_text(dump_config(config), encoding="utf-8")
        preprocessing.write(directory)
        (directory / LONGEST).write_bytes(longest)
        (directory / CHECKPOINTS).mkdir()
        if write_teacher is not None:
            (directory / TEACHER).mkdir()
            write_teacher(directory / TEACHER)
            manifest = manifest.with_(teacher_files=checksums(directory / TEACHER))
        write_manifest(directory / MANIFEST, manifest)


def change_run(path: Path, config: TaskConfig, kernels: str, replicas: int, change: str) -> None:
    """Record that a training continues in another way; the run is not complete until it ends.

    Args:
        path: of the run, finished or not.
        config: from now on.
        kernels: what computes the recurrent layers from now on.
        replicas: number of devices that share the rows of a step from now on.
        change: a sentence for the manifest.
    """
    manifest = read_run_manifest(path)
    changes = [own for own in manifest.changes if own != change]  # recorded before an interruption
    changed = manifest.with_(
        complete=False,
        files={},
        kernels=kernels,
        strategy=config.training.strategy,
        replicas=replicas,
        changes=[*changes, change],
    )
    write_manifest(path / MANIFEST, changed)
    write_text(path / CONFIG, dump_config(config))


def start_run(path: Path, pretrained: Pretrained | None) -> RunManifest:
    """Record the language model that a network starts from, and return the manifest."""
    manifest = read_run_manifest(path).with_(pretrained=pretrained)
    write_manifest(path / MANIFEST, manifest)
    return manifest


def complete_run(path: Path) -> None:
    """Mark training as finished and store the checksums of the files that the run consists of.

    Checkpoints, probabilities of teachers, TensorBoard logs and files of the user are not among them.
    """
    for directory in (path, path / CHECKPOINTS):
        remove_partial_files(directory)
    names = [CONFIG, *preprocessing_files(path), LONGEST, MODEL, METRICS]
    manifest = read_run_manifest(path).with_(complete=True, files=checksums(path, sorted(names)))
    write_manifest(path / MANIFEST, manifest)


def read_run_manifest(path: Path) -> RunManifest:
    """Return the manifest of a run directory.

    Raises:
        UserError: there is no such directory, it is not a run, or its format is not supported.
    """
    if not path.is_dir():
        raise UserError(
            f"{path} is not a run directory: no such directory. Pass a directory created by 'textrnn train'."
        )
    try:
        return read_manifest(path / MANIFEST, RunManifest)
    except (OSError, NotAManifestError):
        raise UserError(
            f"{path} is not a run directory: no valid {MANIFEST}. "
            "Pass a directory created by 'textrnn train'."
        ) from None


def open_run(path: Path) -> Run:
    """Open a finished run and compare its files with the checksums in its manifest.

    Raises:
        UserError: it is not a run, its training is not finished, or a file was changed.
    """
    manifest = read_run_manifest(path)
    if not manifest.complete:
        raise UserError(f"{path}: training is not finished; run its 'train' command again with --resume")
    verify_checksums(path, manifest.files)
    return Run(path, load_config(file=path / CONFIG, require_format=True), manifest)
