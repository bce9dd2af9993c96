"""What `textrnn card` has measured of a run: RUN/card.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.artifacts.files import write_text
from app.artifacts.manifests import RunManifest
from app.artifacts.run import MODEL
from app.config import TaskConfig
from app.json_text import dumps

MEASURED = "card.json"


class Measured(BaseModel):
    """Measurements of a model, and what the user has said about it since its training."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    model: str
    """sha256 of the weights that were measured."""
    said: dict[str, str] = Field(default_factory=dict)
    """Values of keys of the section card, by name, that replace those of the configuration."""
    result: dict[str, Any] | None = None
    """Of `evaluate`, numbers of the whole split only; None: not measured yet."""
    milliseconds: float | None = None
    """Median time of one answer."""
    machine: str = ""
    """On which it was measured."""
    horizon: float | None = None
    """Tokens back that half of the gradient of an output reaches."""
    unknown: float | None = None
    """Share of the tokens of the validation split that are out of vocabulary."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Training examples of each label."""


def read_measured(run: Path, manifest: RunManifest) -> Measured:
    """Return what was measured of a run; measurements of other weights, or of another format, are dropped."""
    nothing = Measured(model=manifest.files.get(MODEL, ""))
    try:
        found = Measured.model_validate_json((run / MEASURED).read_bytes())
    except (OSError, ValidationError):
        return nothing
    return found if found.model == nothing.model else nothing.model_copy(update={"said": found.said})


def write_measured(run: Path, measured: Measured) -> None:
    """Write `card.json`."""
    write_text(run / MEASURED, dumps(measured.model_dump(), indent=1, ensure_ascii=False) + "\n")


def whole_split(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a result of `evaluate` that a card shows: no classes, curves or confusions."""
    kept = {
        name: value
        for name, value in result.items()
        if isinstance(value, float | int | str) or name in ("intervals", "comparison")
    }
    if baseline := result.get("baseline"):
        kept["baseline"] = {n: value for n, value in baseline.items() if isinstance(value, float | str)}
    return kept


def with_said(config: TaskConfig, measured: Measured) -> TaskConfig:
    """Return the configuration with what the user has said since the training."""
    return config.model_copy(update={"card": config.card.model_copy(update=measured.said)})
