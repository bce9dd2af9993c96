"""Report of the data check: what was found in each split, errors and warnings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.column_warnings import Column, warn_of_columns
from data.findings import Finding
from data.label_warnings import unseen_labels
from data.splits import TRAINING_SPLITS

SEQUENCES = {"tokens": "sentence"}
"""What a list of tokens is called, by the name of its field."""
MANY_LONG = 0.05
"""Share of texts that are longer than the maximum above which there is a warning."""
MANY_UNKNOWN = 0.5
"""Share of tokens that are out of vocabulary above which there is a warning."""
FEWEST_TOKENS = 100
"""Number of tokens of a split below which this share says little."""


@dataclass(frozen=True)
class Places:
    """Where something was found."""

    first: tuple[str, ...] = ()
    """The first places, each `FILE:LINE`, perhaps with what is there."""
    total: int = 0
    """Number of all places."""

    def finding(self, what: str, advice: str) -> Finding:
        """Return an error or a warning about these places."""
        return Finding(what, advice, self.first, self.total)


@dataclass(frozen=True)
class Lengths:
    """Percentiles of the number of tokens of a text."""

    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True)
class Overlap:
    """Texts that occur in two splits."""

    first: str
    second: str
    texts: Places
    """A place in each split for each distinct text."""


@dataclass(frozen=True)
class UnseenLabel:
    """A label that no example of `train` has."""

    split: str
    label: str
    rows: Places


@dataclass(frozen=True)
class FieldReport:
    """What was found in one text field of a split."""

    empty: Places
    """Values without tokens."""
    lengths: Lengths | None
    """None without examples."""
    tokens: int
    """Number of tokens of all examples."""
    long: Places
    """Values with more tokens than the maximum."""
    unknown_share: float | None
    """Share of the tokens that are out of vocabulary; None in `train`, from which it is learned."""


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split."""

    rows: int
    """Number of examples."""
    labels: Mapping[str, int]
    """Number of examples of each label, by name; empty for examples without labels."""
    fields: Mapping[str, FieldReport]
    """By name of the texts of an example; the first one marks duplicates."""
    duplicates: Places
    """Examples whose first field occurs in an earlier example of the split."""
    duplicate_rows: int
    """Number of examples all of whose fields occur in an earlier example of the split."""
    conflicts: Places
    """Texts that have more than one label, each with the places of two examples."""
    untranslated: Places
    """Pairs whose target is their source."""
    odd_lengths: Places
    """Pairs one side of which is much longer than the other one."""

    @property
    def largest_class_share(self) -> float | None:
        """Return the share of the most frequent label; None without labels."""
        return max(self.labels.values()) / self.rows if self.labels else None

    @property
    def smallest_class_share(self) -> float | None:
        """Return the share of the least frequent label of the split; None without labels."""
        return min(self.labels.values()) / self.rows if self.labels else None

    @property
    def empty(self) -> int:
        """Return the number of values without tokens."""
        return sum(own.empty.total for own in self.fields.values())


@dataclass(frozen=True)
class Statistics:
    """What was counted in all examples."""

    splits: Mapping[str, SplitReport]
    """In the order training, validation, test; always has `train`."""
    overlaps: tuple[Overlap, ...]
    """One for each pair of splits."""
    unknown_shares: Mapping[str, float]
    """Share of the tokens of the first field that are out of vocabulary, in each split except `train`."""
    unseen_labels: tuple[UnseenLabel, ...]
    """Empty if `train` has no examples."""
    columns: tuple[Column, ...]
    max_length: int = 0
    """Maximum number of tokens of a text; 0: no limit."""
    pairs: bool = False
    """Whether an example is a text and its translation."""
    several_labels: bool = False
    """Whether an example has any number of labels."""

    def warnings(self, options: Mapping[str, str]) -> Iterator[Finding]:
        """Yield what makes a model or its scores misleading.

        Args:
            options: by name of a field, the option that names another column.
        """
        for name, split in self.splits.items():
            yield from _warn_of_split(name, split)
            for field_name, own in split.fields.items():
                yield from self._warn_of_tokens(name, field_name, own)
        for overlap in self.overlaps:
            if overlap.texts.total:
                yield overlap.texts.finding(
                    f"{overlap.first} and {overlap.second} share {_count(overlap.texts.total, 'text')}",
                    f"remove them from {overlap.first}, or scores on {overlap.second} will be too good",
                )
        yield from warn_of_columns(self.columns, dict(options))

    def _warn_of_tokens(self, split: str, name: str, own: FieldReport) -> Iterator[Finding]:
        rows = self.splits[split].rows
        if own.long.total > MANY_LONG * rows:
            limit = "at least" if self.pairs else "more than"
            yield own.long.finding(
                f"{split}: {own.long.total:,} of {rows:,} examples have a {name} of {limit} "
                f"text.max_length = {self.max_length} tokens",
                "such pairs are not used in training; give a larger value, or 0 for no limit"
                if self.pairs
                else "the other tokens are ignored; give a larger value, or 0 for no limit",
            )
        share = None if split in TRAINING_SPLITS else own.unknown_share  # theirs are counted in training
        if share is not None and share > MANY_UNKNOWN and own.tokens >= FEWEST_TOKENS:
            yield Finding(
                f"{split}: {share:.0%} of the tokens of the {name} are out of vocabulary",
                "nothing is known about them; give training examples that are more like these, or a larger "
                "text.vocabulary_size",
            )

    def unseen(self) -> Iterator[Finding]:
        """Yield a warning for the labels of a split that no training example has, with their places."""
        for split in self.splits:
            own = [unseen for unseen in self.unseen_labels if unseen.split == split]
            if own:
                names = {unseen.label: unseen.rows.total for unseen in sorted(own, key=lambda u: u.label)}
                places = [f"{place}: {unseen.label!r}" for unseen in own for place in unseen.rows.first]
                yield unseen_labels(split, names, places, several=self.several_labels)


def _warn_of_split(name: str, split: SplitReport) -> Iterator[Finding]:
    name_of_first = next(iter(split.fields), "text")
    first = SEQUENCES.get(name_of_first, name_of_first)
    for field_name, own in split.fields.items():
        if own.empty.total:
            noun = "text" if field_name == "text" else SEQUENCES.get(field_name, f"{field_name} text")
            yield own.empty.finding(
                f"{name} has {_count(own.empty.total, noun)} without tokens",
                "fill or remove them",
            )
    if split.duplicates.total:
        whole = (
            f", {split.duplicate_rows:,} of them equal in all fields"
            if len(split.fields) > 1 or split.labels
            else ""
        )
        yield split.duplicates.finding(
            f"{name} has {_count(split.duplicates.total, 'example')} whose {first} occurs in an earlier "
            f"example{whole}",
            "remove them, or the same text counts more than once",
        )
    if split.conflicts.total:
        tags = "sequence of tags" if name_of_first == "tokens" else ""
        answers = " or ".join(filter(None, ["label" if split.labels else "", tags]))
        yield split.conflicts.finding(
            f"{name} has {_count(split.conflicts.total, 'text')} with more than one {answers}",
            "keep the correct one",
        )
    if split.untranslated.total:
        yield split.untranslated.finding(
            f"{name} has {_count(split.untranslated.total, 'pair')} whose target is the same as the source",
            "translate or remove them, or the model learns to copy",
        )
    if split.odd_lengths.total:
        yield split.odd_lengths.finding(
            f"{name} has {_count(split.odd_lengths.total, 'pair')} one side of which is unusually long",
            "compare both sides, which may belong to different pairs, and remove such pairs",
        )


@dataclass(frozen=True)
class Report:
    """What the data check found: what training refuses, what is odd, and statistics."""

    statistics: Statistics
    problems_found: tuple[Finding, ...]
    """What training refuses."""
    warnings_found: tuple[Finding, ...] = ()
    """What is odd, and does not prevent training."""
    layout: tuple[str, ...] = ()
    """Sentences: which files are which split, and how they are written."""
    ignored: tuple[str, ...] = ()
    """Sentences: which files are not read."""
    malformed: Mapping[str, int] = field(default_factory=dict)
    """Number of rows that cannot be read, by split."""

    @property
    def splits(self) -> Mapping[str, SplitReport]:
        """Return what was found in each split."""
        return self.statistics.splits

    @property
    def problems(self) -> list[str]:
        """Return the errors, which must be fixed before training, a sentence each."""
        return [finding.sentence() for finding in self.problems_found]

    @property
    def warnings(self) -> list[str]:
        """Return the warnings, which do not prevent training, a sentence each."""
        return [finding.sentence() for finding in self.warnings_found]

    def as_json(self) -> dict[str, Any]:
        """Return the report with its sentences as plain dicts, lists, numbers and strings."""
        splits = {
            name: _plain_split(split) | {"malformed": self.malformed.get(name, 0)}
            for name, split in self.splits.items()
        }
        statistics = self.statistics
        report = {
            "splits": splits,
            "overlaps": [
                {
                    "first": own.first,
                    "second": own.second,
                    "texts": own.texts.total,
                    "places": own.texts.first,
                }
                for own in statistics.overlaps
            ],
            "unknown_shares": statistics.unknown_shares,
            "unseen_labels": [
                {"split": own.split, "label": own.label, "rows": own.rows.total, "places": own.rows.first}
                for own in statistics.unseen_labels
            ],
            "layout": self.layout,
            "ignored": self.ignored,
            "problems": self.problems,
            "warnings": self.warnings,
            "findings": {
                "problems": [dataclasses.asdict(own) for own in self.problems_found],
                "warnings": [dataclasses.asdict(own) for own in self.warnings_found],
            },
        }
        plain: dict[str, Any] = json.loads(json.dumps(report))  # Tuples become lists.
        return plain


def _plain_split(split: SplitReport) -> dict[str, Any]:
    first = next(iter(split.fields.values()), None)
    return {
        "rows": split.rows,
        "labels": split.labels,
        "largest_class_share": split.largest_class_share,
        "smallest_class_share": split.smallest_class_share,
        "empty": split.empty,
        "duplicates": split.duplicates.total,
        "duplicate_rows": split.duplicate_rows,
        "conflicts": split.conflicts.total,
        "untranslated": split.untranslated.total,
        "odd_lengths": split.odd_lengths.total,
        "lengths": dataclasses.asdict(first.lengths) if first and first.lengths else None,
        "fields": {
            name: {
                "empty": own.empty.total,
                "lengths": dataclasses.asdict(own.lengths) if own.lengths else None,
                "tokens": own.tokens,
                "long": own.long.total,
                "unknown_share": own.unknown_share,
            }
            for name, own in split.fields.items()
        },
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
