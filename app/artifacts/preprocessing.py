"""What the preprocessing of a model consists of: vocabularies and typed facts, by name.

A run stores each vocabulary as a text file `NAME.txt` and everything else in `preprocessing.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict

from app.json_text import dumps
from data.errors import UserError
from data.vocabulary import read_vocabulary, write_vocabulary

PREPROCESSING = "preprocessing.json"
FORMAT = 1


class Facts(BaseModel):
    """Facts that all tasks share; a task adds its own in a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subwords: dict[str, list[tuple[str, float]]] = {}
    """Pieces with their log-probabilities, by the name of their vocabulary; empty for other tokens."""
    word_rules: Literal[1, 2] = 1
    """Version of the rules of word tokens that the model was trained with, see `models.text.patterns`."""


_Facts = TypeVar("_Facts", bound=Facts, covariant=True)


@dataclass(frozen=True)
class Preprocessing(Generic[_Facts]):
    """Vocabularies and facts of one model."""

    vocabularies: Mapping[str, Sequence[bytes]]
    """Tokens, characters, labels, tags, …, each in the order of their ids."""
    facts: _Facts

    @property
    def vocabulary(self) -> Sequence[bytes]:
        """The tokens of the input texts."""
        return self.vocabularies["vocabulary"]

    @property
    def labels(self) -> Sequence[bytes]:
        """The labels of whole texts; empty if the data has none."""
        return self.vocabularies.get("labels", ())

    def hash(self) -> str:
        """Return the sha256 of all vocabularies and facts."""
        vocabularies = {name: [token.hex() for token in tokens] for name, tokens in self.vocabularies.items()}
        text = dumps([vocabularies, self.facts.model_dump(mode="json")])
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, directory: Path) -> None:
        """Write all files to a directory."""
        for name, tokens in self.vocabularies.items():
            write_vocabulary(directory / f"{name}.txt", tokens)
        content = {
            "format": FORMAT,
            "vocabularies": list(self.vocabularies),
            "facts": self.facts.model_dump(mode="json"),
        }
        text = dumps(content, indent=2, ensure_ascii=False)
        (directory / PREPROCESSING).write_text(text + "\n", encoding="utf-8")

    def described(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the facts and the named vocabularies as JSON, for the manifest of an export."""
        found: dict[str, Any] = {"facts": self.facts.model_dump(mode="json", exclude={"subwords"})}
        for name in names:
            if name in self.vocabularies:
                found[name] = [token.decode() for token in self.vocabularies[name]]
        return found


def preprocessing_files(directory: Path) -> list[str]:
    """Return the names of the files that `Preprocessing.write` wrote."""
    found = json.loads((directory / PREPROCESSING).read_text(encoding="utf-8"))
    return [PREPROCESSING, *(f"{name}.txt" for name in found["vocabularies"])]


def read_preprocessing(directory: Path, facts: type[_Facts]) -> Preprocessing[_Facts]:
    """Read what `Preprocessing.write` wrote.

    Args:
        directory: a run.
        facts: the type of the facts of its task.

    Raises:
        UserError: a file is missing or damaged, or of a format that this version does not read.
    """
    path = directory / PREPROCESSING
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UserError(f"{path}: format {found['format']!r} is not supported, only format {FORMAT}")
        vocabularies = {name: read_vocabulary(directory / f"{name}.txt") for name in found["vocabularies"]}
        return Preprocessing(vocabularies, facts.model_validate(found["facts"]))
    except (OSError, ValueError, KeyError, TypeError, pydantic.ValidationError) as error:
        raise UserError(f"{path}: cannot be read ({error}); the run is incomplete or damaged") from None


def from_description(found: Mapping[str, Any], facts: type[_Facts]) -> Preprocessing[_Facts]:
    """Return what `Preprocessing.described` gave."""
    vocabularies = {
        name: [token.encode() for token in tokens] for name, tokens in found.items() if name != "facts"
    }
    return Preprocessing(vocabularies, facts.model_validate(found.get("facts", {})))
