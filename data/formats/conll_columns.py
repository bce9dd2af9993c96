"""The columns of CoNLL files: what separates them, what they are called, and which ones are needed.

The layout of a file is decided from its first lines, and a layout that they contradict is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from data.errors import UserError, did_you_mean
from data.formats.conll_lines import (
    SPACE,
    blocks,
    declared_columns,
    is_document_mark,
    is_part_of_token,
    split_line,
)
from data.formats.fields import Field
from data.formats.layout import Layout, Options
from data.formats.table_layout import check_delimiter

POSITION = "position"
"""Name of the column that counts the tokens of a sentence, in `Layout.chosen`."""

_PREFIX = r"[0-9]+[-.:_]|[A-Za-z][-.:_]?"
_NUMBERS = re.compile(r"[\d.,:;/_-]*\d[\d.,:;/_-]*")
_FEATURES = re.compile(r"[^=]+=.*")
_EMPTY = frozenset(("", "_"))
_TOKEN_NAMES = ("form", "token", "tokens", "word", "words")
_TAG_NAMES = ("upos", "tag", "tags", "label", "ner", "pos", "xpos")
_HEADER_NAMES = frozenset(
    (
        "id",
        "index",
        "lemma",
        "chunk",
        "entity",
        "slot",
        "bio",
        "iob",
        "feats",
        "head",
        "deprel",
        "deps",
        "misc",
    )
).union(_TOKEN_NAMES, _TAG_NAMES, ("pos_tag", "ner_tag", "ner_tags", "pos_tags", "chunk_tag", "sentence"))
_MOSTLY = 0.9
"""Share of the sentences whose cells must count for a column that counts."""
_FEW_LINES = 20
"""Number of lines below which nothing follows from the number of distinct values."""
_CONLLU_TAGS = 3
"""Index of the parts of speech in files with the columns of CoNLL-U, CoNLL-X or CoNLL-2009."""


def decide_columns(lines: Sequence[str], fields: Sequence[Field], options: Options) -> Layout:
    """Decide the layout of a CoNLL file from its first lines.

    Args:
        lines: the first lines, or all.
        fields: that a row needs. A field with other columns is not chosen by the user.
        options: what the user says about files.

    Raises:
        UserError: the number of columns varies, or a column does not exist or has no tags.
    """
    sentences = [block for _, block in blocks(lines)]
    content = [own for block in sentences if (own := _without_comments(block))]
    delimiter = check_delimiter(options.delimiter) if options.delimiter else _delimiter(content)
    rows = [[split_line(line, delimiter) for line in block] for block in content]
    names = declared_columns(lines)
    if not rows:
        return Layout("conll", columns=names)
    number = len(names) or _number_of_columns(rows)
    header = not names and _is_header(rows[0][0], number, fields, options)
    if header:
        names = tuple(rows[0].pop(0))
    if len(names) != number or len(set(names)) < number:
        names = tuple(map(str, range(1, number + 1)))
    fitting = [[row for row in block if len(row) == number] for block in rows]
    chosen = _Table(names, [block for block in fitting if block]).choose(fields)
    variant = {"\t": "tabs", SPACE: "spaces"}.get(delimiter, "")
    return Layout(
        "conll",
        variant=variant,
        delimiter=delimiter,
        header=header or None,
        columns=names,
        chosen=chosen,
    )


def _without_comments(block: Sequence[str]) -> list[str]:
    """Return the lines of a block that are certainly tokens."""
    lines = [line for line in block if not is_document_mark(line)]
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[start:]


def _delimiter(content: Sequence[Sequence[str]]) -> str:
    with_tabs = sum("\t" in line for block in content for line in block)
    return "\t" if 2 * with_tabs > sum(map(len, content)) else SPACE


def _number_of_columns(rows: Sequence[Sequence[Sequence[str]]]) -> int:
    counts = Counter(len(row) for block in rows for row in block)
    number = max(counts, key=lambda number: (counts[number], number))
    if 2 * counts[number] < counts.total():
        found = ", ".join(_lines_have(counts[n], n) for n in sorted(counts)[:5])
        raise UserError(
            f"the number of columns varies: {found}; write the same columns in all lines, or name what "
            "separates them with --set data.delimiter=CHARACTER"
        )
    return number


def _is_header(cells: Sequence[str], number: int, fields: Sequence[Field], options: Options) -> bool:
    if options.header != "auto" or len(cells) != number:
        return options.header == "true"
    chosen = {field.column for field in fields if not field.other_columns and not field.column.isdecimal()}
    folded = {cell.casefold() for cell in cells}
    return bool(chosen.intersection(cells)) or (len(folded) == number > 1 and folded <= _HEADER_NAMES)


@dataclass(frozen=True)
class _Table:
    """The first sentences: for each the cells of its lines."""

    names: tuple[str, ...]
    sentences: list[list[list[str]]]

    def choose(self, fields: Sequence[Field]) -> dict[str, str]:
        """Return the columns of positions, tokens and tags."""
        tokens = next((field for field in fields if field.kind == "tokens"), None)
        tags = next((field for field in fields if field.kind == "tags"), None)
        every = range(len(self.names))
        positions = [column for column in every if self._counts(column)]
        counting = [*positions, *(column for column in every if self._counts_with_prefix(column))]
        skipped = list(takewhile(lambda column: column in counting or self._is_about_position(column), every))
        needed = (tokens is not None) + (tags is not None)
        if len(every) - len({*skipped, *counting}) < needed:
            skipped = []
        left = [column for column in every if column not in skipped and column not in counting]
        position = positions[0] if positions else None
        chosen = {} if position is None else {POSITION: self.names[position]}
        place_of_tokens = None
        if tokens is not None:
            place_of_tokens = self._find(tokens, _TOKEN_NAMES)
            if place_of_tokens is None and left:
                place_of_tokens = left[0]
            if place_of_tokens is None or place_of_tokens in counting:
                counted = counting[0] if place_of_tokens is None else place_of_tokens
                raise UserError(self._counting(counted, tokens, left))
            chosen[tokens.name] = self.names[place_of_tokens]
        if tags is not None:
            place = self._find(tags, _TAG_NAMES)
            left = [column for column in left if column != place_of_tokens and not self._is_empty(column)]
            if place is None and not left:
                raise UserError(self._too_few(tags, counting))
            named = place is not None
            place = left[-1] if place is None else place
            self._check_tags(place, tags, left, place_of_tokens, counting, named=named)
            chosen[tags.name] = self.names[place]
        return chosen

    def _column(self, column: int) -> Counter[str]:
        return Counter(row[column] for block in self.sentences for row in block)

    def _counts(self, column: int) -> bool:
        """Return whether a column counts the tokens of each sentence, or of the file."""
        right = 0
        for block in self.sentences:
            cells = [row[column] for row in block if not is_part_of_token(row[column])]
            right += _is_counted(cells, "")
        enough = len(self.names) > 2 or max(map(len, self.sentences)) > 1
        return enough and right >= _MOSTLY * len(self.sentences)

    def _counts_with_prefix(self, column: int) -> bool:
        """Return whether a column counts as in `2-1`, `2-2` or `w1`, `w2`."""
        right = sum(_is_counted([row[column] for row in block], _PREFIX) for block in self.sentences)
        return max(map(len, self.sentences)) > 1 and right >= _MOSTLY * len(self.sentences)

    def _is_about_position(self, column: int) -> bool:
        """Return whether a column has numbers only, or the same name of a document in each sentence."""
        if sum(map(len, self.sentences)) > 2 and all(map(_NUMBERS.fullmatch, self._column(column))):
            return True
        long = [{row[column] for row in block} for block in self.sentences if len(block) > 2]
        return len(long) > 1 and all(len(own) == 1 and re.search("[/.]", min(own)) for own in long)

    def _is_empty(self, column: int) -> bool:
        return all(cell == "" for cell in self._column(column))

    def _has_no_tags(self, column: int) -> bool:
        return all(cell in _EMPTY for cell in self._column(column))

    def _has_features(self, column: int) -> bool:
        cells = self._column(column)
        return all(cell in _EMPTY or _FEATURES.fullmatch(cell) for cell in cells)

    def _find(self, field: Field, usual: Sequence[str]) -> int | None:
        """Return the column that the user names, or that has a usual name; None: neither."""
        folded = [name.casefold() for name in self.names]
        if field.column in self.names:
            return self.names.index(field.column)
        if not field.other_columns and field.column.casefold() in folded:
            return folded.index(field.column.casefold())
        if field.other_columns:
            known = (field.column, *field.other_columns, *usual)
            return next((folded.index(name) for name in known if name in folded), None)
        number = len(self.names)
        if field.column.isascii() and field.column.isdecimal():
            if 1 <= int(field.column) <= number:
                return int(field.column) - 1
            raise UserError(
                f"no column {field.column}; there are {number}; {_advice(field, f'N, from 1 to {number}')}"
            )
        if self.names == tuple(map(str, range(1, number + 1))):
            raise UserError(
                f"no column {field.column!r}; the {number} columns have no names; "
                f"{_advice(field, f'N, from 1 to {number}')}"
            )
        has = ", ".join(map(repr, self.names))
        hint = did_you_mean(field.column, self.names)
        raise UserError(f"no column {field.column!r}; there is {has}; {_advice(field, 'NAME')}{hint}")

    def _check_tags(
        self,
        place: int,
        field: Field,
        left: list[int],
        tokens: int | None,
        counting: list[int],
        *,
        named: bool,
    ) -> None:
        """Refuse a column that certainly has no tags."""
        name, cells = self.names[place], self._column(place)
        if place in counting:
            raise UserError(self._counting(place, field, left))
        if place == tokens:
            option = _advice(field, self._other(left, place))
            raise UserError(f"column {name} has the tokens and cannot have the tags, too; {option}")
        if self._has_no_tags(place) or (not named and self._has_features(place)):
            shown = ", ".join(repr(cell) for cell, _ in cells.most_common(2))
            raise UserError(
                f"column {name} has no tags, only {shown}; {_advice(field, self._other(left, place))}"
            )
        if not named and tokens is not None and cells.total() >= _FEW_LINES:
            distinct = len(self._column(tokens))
            if len(cells) > 2 * distinct:
                raise UserError(
                    f"column {name} has {len(cells):,} distinct values, and column {self.names[tokens]} only "
                    f"{distinct:,}, so they are hardly tags and tokens; choose both with "
                    "--set data.token_column=N and --set data.tag_column=N"
                )

    def _other(self, left: list[int], place: int) -> str:
        """Return the name of another column that probably has tags."""
        others = [column for column in left if column != place and not self._has_no_tags(column)]
        if len(self.names) >= 10 and _CONLLU_TAGS in others:
            return self.names[_CONLLU_TAGS]
        return self.names[others[-1]] if others else "N"

    def _counting(self, counting: int, field: Field, left: list[int]) -> str:
        name = self.names[counting]
        if not left:
            return f"column {name} counts the tokens; there is no column of {field.name}; add one"
        return f"column {name} counts the tokens; {_advice(field, self.names[left[0]])}"

    def _too_few(self, field: Field, counting: list[int]) -> str:
        number = "1 column" if len(self.names) == 1 else f"{len(self.names)} columns"
        counted = f", of which column {self.names[counting[0]]} counts the tokens" if counting else ""
        return (
            f"the lines have {number}{counted}; expected a token and its tag, separated by a tab or spaces; "
            "name another separator with --set data.delimiter=CHARACTER"
        )


def _is_counted(cells: Sequence[str], prefix: str) -> bool:
    """Return whether cells are consecutive numbers after the same prefix; one alone is 0 or 1."""
    matches = [re.fullmatch(rf"({prefix})([0-9]+)", cell) for cell in cells]
    parts = [(match[1], int(match[2])) for match in matches if match]
    if len(parts) < len(cells) or len({before for before, _ in parts}) != 1:
        return False
    numbers = [number for _, number in parts]
    return all(b == a + 1 for a, b in pairwise(numbers)) and (len(numbers) > 1 or numbers[0] in (0, 1))


def _advice(field: Field, column: str) -> str:
    return f"choose another column with {field.option.replace('NAME', column)}"


def _lines_have(lines: int, columns: int) -> str:
    return f"1 line has {columns}" if lines == 1 else f"{lines:,} lines have {columns}"
