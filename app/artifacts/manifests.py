"""Manifests of runs and exports: typed and versioned.

`format` is the version of the whole directory layout. A later version of the program reads a manifest of an
earlier format or refuses it by name.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.artifacts.files import MANIFEST, write_text
from app.bounds import Bounds
from app.json_text import dumps
from data.errors import UserError

FORMAT = 1
EXPORT_MANIFEST = Path("assets.extra", MANIFEST)


class NotAManifestError(UserError):
    """A file is not JSON, or not a manifest of this program."""


class Manifest(BaseModel):
    """What runs and exports have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    task: str
    dataset: str
    """Short name of the dataset."""
    dataset_hash: str
    data: str | None
    """DATA as it was given, with an absolute path; of an export only where it is no path."""
    versions: dict[str, str]
    """Of Python and of the packages that decide what is computed."""
    seed: int
    parameters: int
    """Number of weights of the model."""
    files: dict[str, str] = Field(default_factory=dict)
    """sha256 of each file that the artifact consists of, by its relative path."""

    def with_(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return type(self).model_validate({**self.model_dump(), **changes})


class Teacher(BaseModel):
    """A run that a student was distilled from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: str
    """Its directory, as an absolute path."""
    seed: int
    parameters: int
    model: str
    """sha256 of its weights."""


class Pretrained(BaseModel):
    """The language model, or another run, that a network started from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run: str
    """Its directory, as an absolute path."""
    model: str
    """sha256 of its weights."""
    copied: list[str]
    """Sentences: what was copied, and what was not."""


class RunManifest(Manifest):
    """`manifest.json` of a run."""

    examples: dict[str, int]
    """Number of examples of each split that training reads."""
    layout: list[str] = Field(default_factory=list)
    """Sentences: which files were read as which split, how they are written, and which were not read."""
    unlabelled_hash: str = ""
    """sha256 of the content of the texts without labels; empty: there are none."""
    kernels: str = "keras"
    """What computes the recurrent layers in training: `keras`, or `native` with the instruction set."""
    strategy: str = "single"
    """`training.strategy`."""
    replicas: int = 1
    """Number of devices, of all workers, that share the rows of a training step."""
    changes: list[str] = Field(default_factory=list)
    """Sentences: what was changed when the training was resumed, and from which step on."""
    teachers: list[Teacher] = Field(default_factory=list)
    """The runs whose mean probabilities the network was trained on, beside the true labels."""
    teacher_files: dict[str, str] = Field(default_factory=dict)
    """sha256 of the files with these probabilities, which only resuming needs."""
    pretrained: Pretrained | None = None
    """The language model that the network started from; None: there is none, or it is still in training."""
    from_run: Pretrained | None = None
    """The run of `train --from` whose weights the network started from."""
    complete: bool = False
    """Whether training has finished."""


def _bounds(value: Any) -> Any:
    """Return the bounds that JSON has as an object."""
    if not isinstance(value, dict):
        return value
    names = {field.name for field in dataclasses.fields(Bounds)}
    if value.keys() != names or not all(isinstance(number, int | float) for number in value.values()):
        raise ValueError(f"expected numbers: {', '.join(sorted(names))}")
    return Bounds(**value)


class SignatureManifest(BaseModel):
    """One signature of an export."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    inputs: dict[str, list[Any]]
    """dtype and shape (null: any size) of each input."""
    outputs: dict[str, list[Any]]
    batched: bool = False
    """Whether rows of several requests may share a call: each output row depends on its input row alone."""
    shared: list[str] = Field(default_factory=list)
    """Inputs that apply to all rows of a call."""
    limited: list[str] = Field(default_factory=list)
    """Inputs that drive the cost of a call, such as output length or beam width; a server caps them."""
    follows: str | None = None
    """The signature whose outputs this one takes as inputs of the same names."""
    bounds: dict[str, Annotated[Bounds, BeforeValidator(_bounds)]] = Field(default_factory=dict)
    """Which values numeric inputs may have; empty in exports of earlier versions."""
    cudnn_layers: int = 0
    """Recurrent layers, counted per direction, that run on cuDNN on a host with a GPU."""


class Reference(BaseModel):
    """What a server watches of a model, computed on a split of the data that it was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    split: str
    examples: int
    """Number of its first examples that were looked at."""
    answers: dict[str, float] = Field(default_factory=dict)
    """Share of each answer among those of the model: labels, or tags of tokens; empty: it has none."""
    certainty: float | None = None
    """Mean probability of the answers; None: the model gives none."""
    characters: float | None = None
    """Mean length of the texts that the model wrote; None: it writes none, or not the same ones again."""
    unknown: float
    """Share of the tokens that are out of vocabulary."""
    tokens: dict[str, float]
    """Quantiles of the number of tokens of a text."""


class ExportManifest(Manifest):
    """`assets.extra/manifest.json` of an export."""

    version: int
    config: dict[str, Any]
    """The configuration of the run, without paths."""
    preprocessing: dict[str, Any]
    """Facts and vocabularies that describe inputs and outputs: labels, tags, tag scheme, …"""
    signatures: dict[str, SignatureManifest]
    reference: Reference | None = None
    """None: an export of an earlier version, or made where the data of the training was not found."""


_Kind = TypeVar("_Kind", bound=Manifest)


def read_manifest(path: Path, kind: type[_Kind]) -> _Kind:
    """Read and validate a manifest.

    Args:
        path: of the JSON file.
        kind: `RunManifest` or `ExportManifest`.

    Raises:
        FileNotFoundError: there is no such file.
        NotAManifestError: the file is not JSON, or not a manifest.
        UserError: the format is not supported, or a field is missing or wrong.
    """
    text = path.read_bytes()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAManifestError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict) or "task" not in found:
        raise NotAManifestError(f"{path}: not a manifest of textrnn")
    if found.get("format") != FORMAT:
        raise UserError(
            f"{path}: format {found.get('format', 0)!r} is not supported, only format {FORMAT}; "
            "create the directory again with this version"
        )
    try:
        return kind.model_validate(found)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path}: {where}: {problem['msg']}") from None


def read_export_manifest(directory: Path) -> ExportManifest:
    """Read the manifest of an export.

    Args:
        directory: of one version.

    Raises:
        UserError: the directory has no manifest, or it is damaged or of an unsupported format.
    """
    try:
        return read_manifest(directory / EXPORT_MANIFEST, ExportManifest)
    except OSError:
        raise UserError(
            f"{directory} is not an export: it has no {EXPORT_MANIFEST}. "
            "Pass a directory created by 'textrnn export'."
        ) from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically."""
    write_text(path, dumps(manifest.model_dump(), indent=2, ensure_ascii=False) + "\n")
