"""One pass over the rows of a source, in which they are checked, counted and given their splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.assignment import LEFT_OUT, LabelSets, assign
from data.findings import PLACES_KEPT, Finding
from data.formats import EMPTY_LINE, BadRow, Field, Row, Value
from data.sources import Source
from data.splits import ALL_SPLITS, SPLITS, Splitting, row_hash
from data.spool import Spool

NO_LABEL = "-1"
"""The label of examples of test splits whose labels are secret, as in GLUE."""
_NAMED = ("label", "labels", "tags")
_LABELS = ("label", "labels")


@dataclass
class Scan:
    """Counts of the examples of a source, in their splits."""

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
    failed: Counter[str] = field(default_factory=Counter)
    """Number of rows of each part of the source that cannot be read."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a split is not used."""
    moved: int = 0
    """Number of examples that are in train because it would have no example of their label."""
    held_out: bool = False
    """Whether the validation split is a share of other examples."""

    problems: list[Finding] = field(default_factory=list)
    """Errors, without which the examples could be trained on."""
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was decided about the examples, a sentence each."""

    def labels(self, name: str = "label") -> dict[str, Counter[str]]:
        """Return the occurrences of each name of a field, by split; empty if no example has the field."""
        return self.names.get(name, {})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values of all except the places of findings."""
        return vars(self) | {
            "problems": [problem.sentence() for problem in self.problems],
            "warnings": [warning.sentence() for warning in self.warnings],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scan:
        """Return what `to_json` has returned."""
        counted = {name: Counter(values[name]) for name in ("examples", "characters", "present", "failed")}
        findings = {
            name: [Finding(sentence, "") for sentence in values[name]] for name in ("problems", "warnings")
        }
        names = {
            name: {split: Counter(counts) for split, counts in splits.items()}
            for name, splits in values["names"].items()
        }
        return cls(**{**values, **counted, **findings, "names": names})


class ExampleValidator:
    """A check of each example of a source before anything is prepared; this one accepts all."""

    def add(self, split: str, where: str, row: Row) -> None:
        """See the next example of a file, with its final split."""

    def problems(self) -> list[Finding]:
        """Return the errors of all examples that were added."""
        return []

    def warnings(self) -> list[Finding]:
        """Return what is odd about them."""
        return []

    def notes(self) -> list[str]:
        """Return what was decided about them, a sentence each."""
        return []


def scan(
    source: Source,
    fields: Sequence[Field],
    splitting: Splitting,
    spool: Spool,
    validators: Sequence[ExampleValidator] = (),
) -> Scan:
    """Read all rows of a source once, and decide their splits.

    Args:
        source: of the rows.
        fields: of each row.
        splitting: how examples that have no split get one.
        spool: empty; gets all examples and their splits.
        validators: get each example that has a split.

    Returns:
        the counts, and all errors and warnings about the rows, those of the validators included.
    """
    found = Scan(several_labels=any(field.kind == "labels" for field in fields))
    reading = _Reading(source, fields, splitting.key, spool)
    reading.read()
    found.failed = reading.failed
    _assign(source, splitting, spool, reading, found)
    _count(fields, spool, validators, found)
    found.problems += reading.unreadable.findings("cannot be read", "correct or remove {it}")
    for name, part in source.parts.items():
        if not reading.examples[name] and name not in found.left_out and not reading.failed[name]:
            found.problems.append(Finding(f"{part.where}: no examples; expected at least one", ""))
    found.problems += reading.incomplete(found)
    found.warnings += reading.harmless.findings("{is} left out", "")
    for validator in validators:
        found.problems += validator.problems()
        found.warnings += validator.warnings()
        found.notes += validator.notes()
    return found


class _Places:
    """Rows with the reason why they are not examples."""

    def __init__(self) -> None:
        self._places: list[str] = []
        self._total = 0
        self._files: list[Finding] = []

    def add(self, where: str, row: BadRow) -> None:
        if not row.line:  # the whole file
            self._files.append(Finding(f"{where}: {row.reason}", ""))
            return
        self._total += 1
        if len(self._places) < PLACES_KEPT:
            self._places.append(f"{where}:{row.line}: {row.reason}")

    def findings(self, what: str, advice: str) -> list[Finding]:
        if not self._total:
            return self._files
        one = self._total == 1
        words = {"it": "it" if one else "them", "is": "is" if one else "are"}
        rows = "1 row " if one else f"{self._total:,} rows "
        found = Finding(rows + what.format(**words), advice.format(**words), self._places, self._total)
        return [*self._files, found]


class _Reading:
    """The pass over the rows of a source."""

    def __init__(self, source: Source, fields: Sequence[Field], key: int | None, spool: Spool) -> None:
        self._source = source
        self._spool = spool
        self._key = key
        self.label = next((field for field in fields if field.kind in _LABELS), None)
        self.label_sets = LabelSets()
        self.examples: Counter[str] = Counter()
        """Number of examples of each part."""
        self.failed: Counter[str] = Counter()
        """Number of rows of each part that cannot be read."""
        self.characters: Counter[str] = Counter()
        self.labels: dict[str, Counter[tuple[str, ...] | None]] = {name: Counter() for name in source.parts}
        """Number of examples of each part with a set of labels; None: without a label."""
        self.unreadable, self.harmless = _Places(), _Places()
        self._training = [name for name in source.parts if name in ("train", ALL_SPLITS)]
        self._without: dict[str, list[str]] = {name: [] for name in source.parts}
        """Places of examples without a label."""

    def read(self) -> None:
        for number, (name, part) in enumerate(self._source.parts.items()):
            for where, row in part.rows():
                if isinstance(row, Row):
                    self._add(number, name, where, row)
                elif row.harmless:
                    self.harmless.add(where, row)
                elif row.reason != EMPTY_LINE:
                    self.failed[name] += 1
                    self.unreadable.add(where, row)

    def _add(self, number: int, name: str, where: str, row: Row) -> None:
        key = self._source.key
        self.examples[name] += 1
        labels: tuple[str, ...] | None = None
        if self.label is not None:
            labels = _labels(row.values.get(self.label.name))
            self.labels[name][labels] += 1
            if labels is None and len(self._without[name]) < PLACES_KEPT:
                self._without[name].append(f"{where}:{row.line}")
        value = row.values[key]
        if self._source.by_position:
            self.characters[name] += len(value) if isinstance(value, str) else 0
        self._spool.add(
            number,
            where,
            row,
            labels=self.label_sets.number(labels),
            # Only these parts are ever divided.
            text_hash=row_hash({key: value}, self._key) if name in self._training else 0,
        )

    def unlabelled(self, name: str) -> bool:
        """Return whether no example of a part has a label, or only the one that means no label."""
        if self.label is None or self.label.optional:
            return False
        trained = {labels for part in self._training for labels in self.labels[part] if labels is not None}
        known = {label for labels in trained for label in labels}
        return bool(known) and NO_LABEL not in known and set(self.labels[name]) <= {None, (NO_LABEL,)}

    def incomplete(self, found: Scan) -> Iterator[Finding]:
        """Yield an error if only some examples have a label, or none has one that the task needs."""
        if self.label is None:
            return
        used = [name for name in self._source.parts if name not in found.left_out]
        total = sum(self.examples[name] for name in used)
        missing = sum(self.labels[name][None] for name in used)
        empty = [name for name in self._training if 0 < self.examples[name] == self.labels[name][None]]
        if empty and not self.label.optional:
            yield Finding(
                f"{self._source.parts[empty[0]].where}: no example has a {self.label.name}: column "
                f"{self.label.column!r} is empty",
                f"name the right column with {self.label.option}",
            )
        elif 0 < missing < total:
            add = "add it to all examples or to none" if self.label.optional else "add it, or remove {it}"
            has = "has" if missing == 1 else "have"
            places = [place for name in used for place in self._without[name]]
            yield Finding(
                f"{missing:,} of {total:,} examples {has} no {self.label.name}",
                add.format(it="this row" if missing == 1 else "these rows"),
                places,
                missing,
            )


def _labels(value: Value | None) -> tuple[str, ...] | None:
    if isinstance(value, tuple):
        return tuple(sorted(set(value)))
    return None if value is None else (str(value),)


def _assign(source: Source, splitting: Splitting, spool: Spool, reading: _Reading, found: Scan) -> None:
    """Give each example its split."""
    for name, part in source.parts.items():
        if name in ("train", ALL_SPLITS) or reading.failed[name]:
            continue
        if not reading.examples[name]:
            found.left_out[name] = f"{part.where}: no examples; the {name} split is left out"
        elif reading.unlabelled(name):
            found.left_out[name] = f"{part.where}: no example has a label; the {name} split is left out"
    found.warnings += [Finding(sentence, "") for sentence in found.left_out.values()]
    parts = list(source.parts)
    shares = splitting.shares([name for name in parts if name not in found.left_out])
    divided = next(iter(shares), None)
    found.held_out = divided is not None
    codes = [
        LEFT_OUT if name in found.left_out else SPLITS.index(name) if name in SPLITS else 0 for name in parts
    ]
    if divided is not None and source.by_position:
        ordered = sorted(shares[divided], key=lambda share: SPLITS.index(share[0]))
        spool.assign(assign(spool.index, codes, (), splitting, reading.label_sets))
        spool.divide(parts.index(divided), source.key, ordered, reading.characters[divided])
        return
    given = [None if name == divided else code for name, code in zip(parts, codes, strict=True)]
    if splitting.mode == "stratified" and divided is not None and not reading.label_sets.numbers:
        found.problems.append(
            Finding(
                "data.split = 'stratified' needs labels, and the examples have none", "use hash or random"
            )
        )
    assignment = assign(spool.index, given, shares.get(divided or "", ()), splitting, reading.label_sets)
    found.moved = assignment.moved
    if assignment.moved:
        shown = ", ".join(map(repr, assignment.rare[:5])) + (" …" if len(assignment.rare) > 5 else "")
        examples = "1 example is" if assignment.moved == 1 else f"{assignment.moved:,} examples are"
        found.warnings.append(
            Finding(f"{examples} in train because it would have no other example of their label: {shown}", "")
        )
    spool.assign(assignment)


def _count(
    fields: Sequence[Field], spool: Spool, validators: Sequence[ExampleValidator], found: Scan
) -> None:
    """Count the examples in their splits, and show them to the validators."""
    named = [field.name for field in fields if field.kind in _NAMED]
    required = [field.name for field in fields if field.kind in _LABELS and not field.optional]
    present: Counter[tuple[str, ...]] = Counter()
    for split, where, row in spool.rows():
        values = row.values
        if any(name not in values for name in required):
            continue
        for validator in validators:
            validator.add(split, where, row)
        found.examples[split] += 1
        found.characters[split] += sum(map(_size, values.values()))
        present[tuple(values)] += 1
        for name in named:
            if (value := values.get(name)) is not None:
                counts = found.names.setdefault(name, {}).setdefault(split, Counter())
                if isinstance(value, tuple):
                    counts.update(value)
                else:
                    counts[str(value)] += 1
    for names, number in present.items():
        for name in names:
            found.present[name] += number


def _size(value: Value) -> int:
    if isinstance(value, tuple):
        return sum(map(len, value))
    return len(value) if isinstance(value, str) else 1
