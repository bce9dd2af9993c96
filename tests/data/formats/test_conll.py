"""Sentences of the CoNLL shared tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.formats import FORMATS, BadRow, Field, Row, read_rows

TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME")
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
FIELDS = (TOKENS, TAGS)


def read(folder: Path, content: str | bytes, fields: tuple[Field, ...] = FIELDS) -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    path = folder / "rows"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, fields, FORMATS["conll"]))


def row(line: int, tokens: str, tags: str) -> Row:
    """Return a row of tokens and tags, which are separated by spaces here."""
    return Row(line, {"tokens": tuple(tokens.split(" ")), "tags": tuple(tags.split(" "))})


# The columns of CoNLL-2003: token, part of speech, chunk, entity.
NEWS = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC

Peter NNP B-NP B-PER
"""
NEWS_ROWS = [row(3, "EU rejects German", "B-ORG O B-MISC"), row(7, "Peter", "B-PER")]


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", " \n\t\n"])
def test_conll(tmp_path: Path, end: str) -> None:
    """The token is in the first column, its tag in the last one; the start of a document is not a token."""
    assert read(tmp_path, NEWS + end) == NEWS_ROWS
    assert read(tmp_path, NEWS.rstrip("\n")) == NEWS_ROWS


@pytest.mark.parametrize("separator", ["\t", "  ", " \t"])
def test_columns_of_conll(tmp_path: Path, separator: str) -> None:
    """Spaces or tabs separate the columns."""
    assert read(tmp_path, NEWS.replace(" ", separator)) == NEWS_ROWS


def test_line_ends_of_windows_in_conll(tmp_path: Path) -> None:
    r"""`\r\n` ends a line, and a line of it alone is blank."""
    assert read(tmp_path, NEWS.replace("\n", "\r\n")) == NEWS_ROWS


@pytest.mark.parametrize("column", ["upos", "ner", "anything"])
def test_the_tag_is_the_last_column(tmp_path: Path, column: str) -> None:
    """The columns have no names: the column of the field of tags is ignored."""
    fields = (TOKENS, Field("tags", "tags", column, "--set data.tag_column=NAME"))

    assert read(tmp_path, NEWS, fields) == NEWS_ROWS


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u202f", "\x85"])
def test_other_white_space_is_part_of_a_token(tmp_path: Path, space: str) -> None:
    """A number may contain a non-breaking space; it is one token."""
    assert read(tmp_path, f"10{space}000\tO\nEuro\tB\n") == [row(1, f"10{space}000 Euro", "O B")]


def test_a_document_may_start_right_before_a_sentence(tmp_path: Path) -> None:
    """There may be no blank line between them."""
    assert read(tmp_path, "-DOCSTART- O\na X\n") == [row(1, "a", "X")]


def test_a_number_sign_is_a_token(tmp_path: Path) -> None:
    """`#` with a tag is a token everywhere, also at the beginning of a sentence."""
    rows = read(tmp_path, "# O\n1 O\n\na X\n# Y\n#b Z\n")

    assert rows == [row(1, "# 1", "O O"), row(4, "a # #b", "X Y Z")]
    assert read(tmp_path, "a X\n# N Y\nb Z\n") == [row(1, "a # b", "X Y Z")]


def test_comments_in_conll(tmp_path: Path) -> None:
    """A line before a sentence is skipped if it begins with `#` and has another number of columns."""
    assert read(tmp_path, "# source: some news\n# 1\na N X\nb N Y\n") == [row(1, "a b", "X Y")]


def test_a_token_without_a_tag(tmp_path: Path) -> None:
    """The message has its line, and the next sentence is read."""
    assert read(tmp_path, "a X\nb\nc\n\nd X\n") == [
        BadRow(2, "columns: 1; expected a token and its tag"),
        row(5, "d", "X"),
    ]


def test_bytes_that_are_not_utf8_in_conll(tmp_path: Path) -> None:
    """The message has their line."""
    assert read(tmp_path, b"a X\n\xe9 X\n\nb Y\n" + "äö Y\n".encode()) == [
        BadRow(2, "not UTF-8: byte 0xe9 at character 1"),
        row(4, "b äö", "Y Y"),
    ]


def test_an_empty_file_of_conll(tmp_path: Path) -> None:
    """A file that is empty or has only blank lines has no sentences."""
    assert read(tmp_path, "") == read(tmp_path, "\n\n") == []
