"""The run directory: what training writes, and how it is opened again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.artifacts.files import (
    MANIFEST,
    checksums,
    new_directory,
    remove_partial_files,
    verify_checksums,
)
from app.artifacts.manifests import NotAManifestError, RunManifest, read_manifest, write_manifest
from app.artifacts.preprocessing import PREPROCESSING, Facts, Preprocessing, read_preprocessing
from app.config import Config, dump_config, load_config
from data.errors import UserError

CONFIG = "config.toml"
MODEL = "model.keras"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LONGEST = "longest_text"
"""The training text with the most bytes."""


class RunFacts(Facts):
    """Facts of all tasks. Each task will define its own."""

    scheme: str | None = None
    """Tag scheme, such as `BIO`."""
    ends: str | None = None
    """Whether generated texts end: `documents` or `one text`."""


@dataclass(frozen=True)
class Run:
    """A run directory whose training is finished and whose files are unchanged."""

    path: Path
    config: Config
    manifest: RunManifest
    preprocessing: Preprocessing[RunFacts]

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.manifest.task

    def vocabularies(self) -> dict[str, list[bytes]]:
        """Return vocabularies and facts as the tasks take them."""
        return vocabularies_of(self.preprocessing)

    def longest(self) -> bytes:
        """Return the longest training text."""
        return (self.path / LONGEST).read_bytes()


def create_run(
    path: Path, config: Config, manifest: RunManifest, preprocessing: Preprocessing[Any], longest: bytes
) -> None:
    """Create a run directory before training begins.

    Args:
        path: must not exist.
        config: resolved.
        manifest: describes the run; not complete.
        preprocessing: vocabularies and facts.
        longest: the longest training text.
    """
    with new_directory(path) as directory:
        (directory / CONFIG).write_text(dump_config(config), encoding="utf-8")
        preprocessing.write(directory)
        (directory / LONGEST).write_bytes(longest)
        (directory / CHECKPOINTS).mkdir()
        write_manifest(directory / MANIFEST, manifest)


def complete_run(path: Path) -> None:
    """Mark training as finished and store the checksums of the files that the run consists of.

    Checkpoints, TensorBoard logs and files of the user are not among them.
    """
    for directory in (path, path / CHECKPOINTS):
        remove_partial_files(directory)
    vocabularies = read_preprocessing(path, RunFacts).vocabularies
    names = [CONFIG, PREPROCESSING, *(f"{name}.txt" for name in vocabularies), LONGEST, MODEL, METRICS]
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
    preprocessing = read_preprocessing(path, RunFacts)
    return Run(path, load_config(file=path / CONFIG), manifest, preprocessing)


# The tasks' present form of preprocessing: everything is a list of bytes.

_PIECES, _SCORES = "pieces", "piece_scores"


def preprocessing_of(vocabularies: Mapping[str, Sequence[bytes]]) -> Preprocessing[RunFacts]:
    """Return vocabularies and typed facts, from what a task gives."""
    lists = {}
    subwords = {}
    facts: dict[str, str] = {}
    for name, values in vocabularies.items():
        if name in ("scheme", "ends"):
            facts[name] = values[0].decode()
        elif name.endswith(_PIECES):
            prefix = name.removesuffix(_PIECES)
            scores = (float(score) for score in vocabularies[prefix + _SCORES])
            pieces = (piece.decode() for piece in values)
            subwords[f"{prefix}vocabulary"] = list(zip(pieces, scores, strict=True))
        elif not name.endswith(_SCORES):
            lists[name] = list(values)
    return Preprocessing(lists, RunFacts.model_validate({**facts, "subwords": subwords}))


def vocabularies_of(preprocessing: Preprocessing[RunFacts]) -> dict[str, list[bytes]]:
    """Return what `preprocessing_of` was given."""
    found = {name: list(values) for name, values in preprocessing.vocabularies.items()}
    facts = preprocessing.facts
    for name, pieces in facts.subwords.items():
        prefix = name.removesuffix("vocabulary")
        found[prefix + _PIECES] = [piece.encode() for piece, _ in pieces]
        found[prefix + _SCORES] = [repr(score).encode() for _, score in pieces]
    for name in ("scheme", "ends"):
        if (value := getattr(facts, name)) is not None:
            found[name] = [value.encode()]
    return found
