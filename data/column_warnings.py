"""Columns that hold something else than texts to learn from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data.findings import Finding
from data.label_kinds import is_number

FEWEST_ROWS = 8
"""Number of examples below which a column may look odd by chance."""
NEARLY_ALL = 0.95

_IDENTIFIER = re.compile(r"(?=.*\d)[A-Za-z0-9#@._:/?&=%+-]{2,200}")
"""One word of letters of the keyboard with a digit, such as `user_17`, a UUID or an address of a page."""


@dataclass
class Column:
    """Counts of what the texts of one field look like."""

    name: str
    rows: int = 0
    distinct: int = 0
    """Number of different texts."""
    numbers: int = 0
    identifiers: int = 0
    labelled: int = 0
    """Number of examples that have labels."""
    equal: int = 0
    """Number of examples whose text is their label, or whose tokens are their tags."""
    contained: int = 0
    """Number of examples whose text has their labels, as whole words."""
    is_sequence: bool = False
    """Whether the texts are sequences of tokens."""

    def add(self, text: str, labels: Sequence[str]) -> None:
        """Count the next text."""
        self.rows += 1
        short = text.strip() if len(text) <= 400 else ""
        if short and is_number(short):
            self.numbers += 1
        elif short and _IDENTIFIER.fullmatch(short):
            self.identifiers += 1
        if labels:
            self.labelled += 1
            folded = text.casefold()
            self.equal += len(labels) == 1 and folded.strip() == labels[0].casefold()
            self.contained += all(_has_word(folded, label.casefold()) for label in labels)

    def add_tokens(self, tokens: Sequence[str], tags: object) -> None:
        """Count the next sequence of tokens, which may be mistaken for numbers of lines or for the tags."""
        self.rows += 1
        self.is_sequence = True
        self.numbers += len(tokens) > 0 and all(map(is_number, tokens))
        self.equal += len(tokens) > 0 and tokens == tags

    def warnings(self, option: str) -> Iterator[Finding]:
        """Yield what is suspicious about the column.

        Args:
            option: that names another column, e.g. `--set data.text_column=NAME`.
        """
        if self.rows < FEWEST_ROWS:
            return
        advice = f"name the right column with {option}" if option else "give other texts"
        name = self.name
        subject, names = (f"{name} are", "tags") if self.is_sequence else (f"{name} is", "label")
        if self.distinct == 1:
            yield Finding(f"all {self.rows:,} examples have the same {name}", advice)
        elif self.equal >= NEARLY_ALL * self.rows:
            yield Finding(
                f"the {subject} the same as the {names} in {self.equal:,} of {self.rows:,} examples", advice
            )
        elif self.numbers >= NEARLY_ALL * self.rows:
            number = "numbers" if self.is_sequence else "a number"
            yield Finding(f"the {subject} {number} in {self.numbers:,} of {self.rows:,} examples", advice)
        elif self.identifiers >= NEARLY_ALL * self.rows and self.distinct >= NEARLY_ALL * self.rows:
            yield Finding(
                f"the {name} looks like an identifier: one word with digits, different in "
                f"{self.distinct:,} of {self.rows:,} examples",
                advice,
            )
        elif self.labelled >= FEWEST_ROWS and self.contained >= NEARLY_ALL * self.labelled:
            yield Finding(
                f"the label is part of the {name} in {self.contained:,} of {self.labelled:,} examples",
                f"remove it from the {name}, or the model learns to copy it and is of no use for other texts",
            )


def _has_word(text: str, word: str) -> bool:
    if word not in text:
        return False
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def warn_of_columns(columns: Iterable[Column], options: dict[str, str]) -> Iterator[Finding]:
    """Yield what is suspicious about columns.

    Args:
        columns: of texts.
        options: by name, the option that names another column.
    """
    for column in columns:
        yield from column.warnings(options.get(column.name, ""))
