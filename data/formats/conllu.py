"""Sentences of CoNLL-U, the format of Universal Dependencies (universaldependencies.org/format.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from data.errors import UserError, did_you_mean
from data.formats.base import Format
from data.formats.conll_lines import blocks, declared_columns, range_of_words
from data.formats.fields import BadRow, Field, Row, encoding_problem, make_row
from data.formats.head import Head
from data.formats.layout import Layout, Options
from data.multiword import TokenColumns

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
SPACED = "spaced"
"""The variant of a file that says which tokens have no space after them."""
_RAW_TEXT = re.compile(r"#\s*text\s*=\s?(.*)", re.DOTALL)
_TOKENS = "form"
_MISC = "misc"
_EMPTY_NODE = re.compile(r"[0-9]+\.[0-9]+")
_SPACES_AFTER = re.compile(r"(?:^|\|)SpacesAfter=([^|]*)")
_NO_SPACE_AFTER = re.compile(r"(?:^|\|)SpaceAfter=No(?:$|\|)")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"s": " ", "t": "\t", "r": "\r", "n": "\n", "p": "|"}


def sniff_conllu(head: Head, fields: Sequence[Field], options: Options) -> Layout:
    """Decide which columns have the tokens and their tags.

    Args:
        head: of the file.
        fields: that a row needs. A field with other columns is not chosen by the user.
        options: what the user says about files.

    Raises:
        UserError: a column does not exist, or no line has the columns of the format.
    """
    lines = head.lines()
    columns = tuple(name.lower() for name in declared_columns(lines)) or COLUMNS
    if columns[0] != "id" or _TOKENS not in columns:
        raise UserError(
            f"the columns are {', '.join(columns)}; expected id first, and form; let the name end in .conll, "
            "whose columns may be any"
        )
    content = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if content and not any(len(cells) == len(columns) for cells in content):
        raise UserError(
            f"no line has the {len(columns)} columns of CoNLL-U, separated by tabs; if it is another format, "
            "let the name end in .conll, whose columns are found"
        )
    chosen = {field.name: _find(field, columns) for field in fields if field.kind in ("tokens", "tags")}
    misc = columns.index(_MISC) if _MISC in columns else None
    spaced = misc is not None and any(
        _NO_SPACE_AFTER.search(cells[misc]) or _SPACES_AFTER.search(cells[misc])
        for cells in content
        if len(cells) == len(columns)
    )
    return Layout("conllu", variant=SPACED if spaced else "", columns=columns, chosen=chosen)


def _find(field: Field, columns: Sequence[str]) -> str:
    """Return the column of a field, which may be given by name or by number."""
    if field.kind == "tokens" and field.other_columns:
        return _TOKENS
    column = field.column.lower()
    if column in columns:
        return column
    if column.isascii() and column.isdecimal() and 1 <= int(column) <= len(columns):
        return columns[int(column) - 1]
    has = ", ".join(map(repr, columns))
    hint = did_you_mean(column, columns)
    raise UserError(f"no column {field.column!r}; there is {has}; name it with {field.option}{hint}")


def read_conllu(lines: TextIO, fields: Sequence[Field], layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each sentence, and a bad row for each malformed line of it.

    A range such as `1-2` is one token, whose tag is the tags of its words, as in `data.multiword`. Empty
    nodes such as `1.1` are not tokens. The raw text is in the `# text =` line; where it is missing, the text
    is that of the tokens, with a space after each without `SpaceAfter=No`, if the file has such marks.
    """
    for start, block in blocks(lines):
        yield from _Sentence(fields, layout).rows(start, block)


class _Sentence:
    """Reads a sentence."""

    def __init__(self, fields: Sequence[Field], layout: Layout) -> None:
        self._fields, self._layout = fields, layout
        self._chosen = [
            (field, layout.columns.index(layout.chosen[field.name]))
            for field in fields
            if field.name in layout.chosen
        ]
        places = {field.kind: place for field, place in self._chosen}
        # Only forms are written in the text: other columns have a value for each word.
        form = layout.columns.index(_TOKENS)
        self._ranges = places.get("tokens", form) == form
        self._columns = TokenColumns(places.get("tokens", form), places.get("tags"))
        self._words = 0
        self._text = ""

    def rows(self, start: int, block: Sequence[str]) -> Iterator[Row | BadRow]:
        """Yield the row of the sentence, or its malformed lines."""
        bad = []
        for number, line in enumerate(block, start):
            if line.startswith("#"):
                if match := _RAW_TEXT.fullmatch(line):
                    self._text = match[1]
            elif problem := encoding_problem(line, encoding=self._layout.encoding) or self._add(number, line):
                bad.append(BadRow(number, problem))
        if (begun := self._columns.unfinished()) and not bad:
            reason = f"the range {begun.first}-{begun.last} has no word {self._words + 1}"
            bad.append(BadRow(begun.line, reason))
        if bad:
            yield from bad
        elif self._columns.tokens:
            yield make_row(start, self._values(), self._fields, encoding=self._layout.encoding)

    def _add(self, number: int, line: str) -> str | None:
        """Add a line; return what is wrong about it, or None."""
        cells = line.split("\t")
        problem = self._problem(cells)
        if found := range_of_words(cells[0]):
            if problem or not self._ranges:
                return problem
            return self._columns.begin(number, *found, cells) or self._misplaced(found[0], cells[0])
        if cells[0].isdecimal():
            self._words = int(cells[0])
            if problem:
                self._columns.skip()
            else:
                self._columns.add(cells)
        return problem

    def _misplaced(self, first: int, name: str) -> str | None:
        if first == self._words + 1:
            return None
        return f"the range is {name}; the next word is {self._words + 1}, before which its range is expected"

    def _problem(self, cells: Sequence[str]) -> str | None:
        """Return what is wrong about the cells of a line, or None."""
        number = len(self._layout.columns)
        if len(cells) != number:
            return f"columns: {len(cells)}; in CoNLL-U: {number}, separated by tabs"
        if _EMPTY_NODE.fullmatch(cells[0]):
            return None
        is_range = range_of_words(cells[0])
        if not is_range and not (cells[0].isascii() and cells[0].isdecimal()):
            return f"the id is {cells[0]!r}; expected a number such as 1, 1-2 or 1.1"
        if not is_range and int(cells[0]) != self._words + 1:
            return f"the id is {cells[0]}; expected {self._words + 1}, and a blank line between sentences"
        for field, place in self._chosen:
            if not cells[place].strip() and not (is_range and field.kind == "tags"):
                return f"column {place + 1} of {field.name} is empty"
        return None

    def _values(self) -> Mapping[str, Any]:
        lists = self._columns.of_kind
        values: dict[str, Any] = {
            field.column: lists[field.kind] for field in self._fields if field.kind in lists
        }
        text = next((field for field in self._fields if field.kind == "text"), None)
        if text is not None and (found := self._text or self._rebuilt()):
            values[text.column] = found
        return values

    def _rebuilt(self) -> str:
        """Return the text of the tokens and of what is after each; empty if the file does not say it."""
        if self._layout.variant != SPACED:
            return ""
        form, misc = (self._layout.columns.index(name) for name in (_TOKENS, _MISC))
        return "".join(cells[form] + _space_after(cells[misc]) for cells in self._columns.lines).rstrip()


def _space_after(misc: str) -> str:
    """Return the white space after a token: as UDPipe writes it (`SpacesAfter`), none, or a space."""
    if match := _SPACES_AFTER.search(misc):
        return _ESCAPED.sub(lambda escaped: _ESCAPES.get(escaped[1], escaped[1]), match[1])
    return "" if _NO_SPACE_AFTER.search(misc) else " "


FORMAT = Format(
    "conllu",
    read_conllu,
    ("conllu",),
    "sentences",
    frozenset(("tokens", "tags", "words", "text")),
    title="CoNLL-U",
    named=False,
    sniff=sniff_conllu,
)
