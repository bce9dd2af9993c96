"""One pass over the rows of a source, which validates them, counts them, and spools them by split."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from data.errors import UserError
from data.findings import Finding
from data.formats import EMPTY_LINE, NAMED, Field, Row, Value
from data.sources import Source
from data.splits import ALL_SPLITS, rows_by_split


@dataclass
class Scan:
    """Counts of the examples of a source."""

    examples: Counter[str] = field(default_factory=Counter)
    """Number of examples of each split."""
    characters: Counter[str] = field(default_factory=Counter)
    """Number of characters of all values of each split."""
    names: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """Occurrences of each label or tag, by field and split."""
    present: Counter[str] = field(default_factory=Counter)
    """Number of examples that have each field."""
    several_labels: bool = False
    """Whether an example has any number of labels."""

    problems: list[Finding] = field(default_factory=list)
    """Errors, without which the examples could be trained on."""
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was decided about the examples, a sentence each."""

    def labels(self, name: str = "label") -> dict[str, Counter[str]]:
        """Return the occurrences of each name of a field, by split; empty if no example has the field."""
        return self.names.get(name, {})


class ExampleValidator:
    """A check of each example of a source before anything is prepared; this one accepts all."""

    def add(self, split: str, where: str, row: Row) -> None:
        """See the next example of a file."""

    def problems(self) -> list[Finding]:
        """Return the errors of all examples that were added."""
        return []

    def warnings(self) -> list[Finding]:
        """Return what is odd about them."""
        return []

    def notes(self) -> list[str]:
        """Return what was decided about them, a sentence each."""
        return []


class Spool:
    """Examples in temporary files, one for each split, so that they are read from their source only once.

    The files have no names, so that none is left when the process is killed.
    """

    def __init__(self, directory: Path) -> None:
        """Initialize.

        Args:
            directory: for the temporary files; is created.
        """
        self._directory = directory
        self._files: dict[str, TextIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Spool:
        """Return the spool."""
        return self

    def __exit__(self, *error: object) -> None:
        """Delete the files."""
        self._stack.close()

    def add(self, split: str, values: Mapping[str, Value]) -> None:
        """Append an example to a split."""
        if split not in self._files:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by the stack
                "w+", encoding="utf-8", newline="\n", dir=self._directory
            )
            self._files[split] = self._stack.enter_context(file)
        self._files[split].write(json.dumps(values, ensure_ascii=False) + "\n")

    def read(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the examples of a split in order, with lists in place of tuples."""
        file = self._files[split]
        file.seek(0)
        return map(json.loads, file)


def scan(source: Source, fields: Sequence[Field], validator: ExampleValidator, spool: Spool) -> Scan:
    """Validate, count and spool all rows of a source in one pass.

    Args:
        source: of the rows.
        fields: of each row.
        validator: gets each row.
        spool: gets each row.

    Raises:
        UserError: a row cannot be read, a file has no rows, or a label is missing in some examples only.
    """
    found = Scan(several_labels=any(field.kind == "labels" for field in fields))
    named = [field.name for field in fields if field.kind in NAMED]
    for split, where, row in _valid_rows(source):
        validator.add(split, where, row)
        spool.add(split, row.values)
        found.examples[split] += 1
        found.characters[split] += sum(map(_size, row.values.values()))
        found.present.update(row.values.keys())
        for name in named:
            if (value := row.values.get(name)) is not None:
                counts = found.names.setdefault(name, {}).setdefault(split, Counter())
                counts.update(value if isinstance(value, tuple) else (str(value),))
    for name, part in source.parts.items():
        if not found.examples[name] and (name != ALL_SPLITS or not found.examples):
            raise UserError(f"{part.where}: no examples; expected at least one")
    for name in named:
        if 0 < found.present[name] < (total := found.examples.total()):
            raise UserError(
                f"{source.name}: {total - found.present[name]:,} of {total:,} examples have no {name}; "
                "add it to all examples or to none"
            )
    found.problems += validator.problems()
    found.warnings += validator.warnings()
    found.notes += validator.notes()
    return found


def _valid_rows(source: Source) -> Iterator[tuple[str, str, Row]]:
    for split, where, row in rows_by_split(source):
        if isinstance(row, Row):
            yield split, where, row
        elif row.reason != EMPTY_LINE:
            raise UserError(f"{where}:{row.line}: {row.reason}; 'textrnn datasets check' lists all such rows")


def _size(value: Value) -> int:
    if isinstance(value, tuple):
        return sum(map(len, value))
    return len(value) if isinstance(value, str) else 1
