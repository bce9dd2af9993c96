"""Documents in pieces."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.formats import CONTINUES, FORMATS, BadRow, Field, Layout, Row, read_rows
from data.formats.documents import PIECE_CHARACTERS, read_document
from data.formats.opening import as_text

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
FLAG = Field(CONTINUES, "flag", CONTINUES, "", optional=True)
FIELDS = (TEXT, FLAG)


def pieces(content: str | bytes) -> list[Row | BadRow]:
    """Return the pieces of a document."""
    raw = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return list(read_document(as_text(raw), FIELDS, Layout("txt", encoding="utf-8")))


def good(rows: list[Row | BadRow]) -> list[Row]:
    """Return the rows, which must be well-formed."""
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row for row in rows if isinstance(row, Row)]


def joined(rows: list[Row | BadRow]) -> str:
    return "".join(row.text() for row in good(rows))


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the size of pieces to 10 characters."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", 10)


def test_a_short_document_is_one_piece() -> None:
    """It has its blank lines and spaces, and may end without a line feed."""
    for text in ("\n\nOne  line.\n\n\tTwo lines \n", "no end", "two words", " "):
        assert pieces(text) == [Row(1, {"text": text, CONTINUES: False})]


def test_an_empty_document_has_no_pieces() -> None:
    """An empty file has no rows."""
    assert pieces("") == []


@pytest.mark.usefixtures("short_pieces")
def test_pieces_have_whole_lines() -> None:
    """Each piece has the number of its first line; all except the first are continuations."""
    assert pieces("abc\n\ndefgh\nij\nk\nlmnopq\nr") == [
        Row(1, {"text": "abc\n\ndefgh\n", CONTINUES: False}),
        Row(4, {"text": "ij\nk\nlmnopq\n", CONTINUES: True}),
        Row(7, {"text": "r", CONTINUES: True}),
    ]


@pytest.mark.usefixtures("short_pieces")
def test_a_long_line_is_split_after_a_space() -> None:
    """It is split between words if possible; line numbers are those of the file."""
    assert pieces("to be or not to be\nthat is\n") == [
        Row(1, {"text": "to be or ", CONTINUES: False}),
        Row(1, {"text": "not to be\n", CONTINUES: True}),
        Row(2, {"text": "that is\n", CONTINUES: True}),
    ]


@pytest.mark.usefixtures("short_pieces")
def test_a_long_line_without_spaces_is_split_too() -> None:
    """It is split anywhere; line numbers after it are correct."""
    assert pieces("0123456789abcdefghijkl\nx\n0123456789\ny") == [
        Row(1, {"text": "0123456789", CONTINUES: False}),
        Row(1, {"text": "abcdefghij", CONTINUES: True}),
        Row(1, {"text": "kl\nx\n0123456789", CONTINUES: True}),
        Row(3, {"text": "\ny", CONTINUES: True}),
    ]


@pytest.mark.usefixtures("short_pieces")
def test_a_document_that_ends_where_a_piece_does() -> None:
    """There is no empty piece after it."""
    assert pieces("012345678\n") == [Row(1, {"text": "012345678\n", CONTINUES: False})]
    assert pieces("0123456789") == [Row(1, {"text": "0123456789", CONTINUES: False})]


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("line", ["é", "word é word word word", "0123456789abcdé", "é0123456789 0123456789"])
def test_bytes_of_a_document_that_are_not_utf8(line: str) -> None:
    """The message has their line, also if it is split; line numbers after it are correct."""
    content = f"a\nb\n{line}\nlast line 1\nlast line 2\n".encode("latin-1")
    rows = pieces(content)

    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.line for row in bad] == [3]
    assert bad[0].reason.startswith("not UTF-8: byte 0xe9 at character ")
    last = rows[-1]
    assert isinstance(last, Row)
    assert (last.line, last.text().splitlines()[-1]) in {(4, "last line 2"), (5, "last line 2"), (5, "2")}


@given(st.text(st.sampled_from("ab é中\n\r\t\u2028"), max_size=200))
def test_joined_pieces_are_the_document(text: str) -> None:
    """No character is lost, repeated or changed, and each piece begins at its line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.formats.documents.PIECE_CHARACTERS", 7)
        rows = good(pieces(text))

    assert joined([*rows]) == text
    assert [row.values[CONTINUES] for row in rows] == [i > 0 for i in range(len(rows))]
    begins = 0
    for row in rows:
        assert 0 < len(row.text()) < 2 * 7 + 7
        assert row.line == text.count("\n", 0, begins) + 1
        begins += len(row.text())


def test_a_long_document() -> None:
    """Pieces have about the documented size, also if there are longer lines."""
    lines = [f"line {i} of a long text" * (1 + i % 7) for i in range(6_000)]
    lines[3_000] = "word " * PIECE_CHARACTERS
    text = "\r\n".join(lines)

    rows = pieces(text)

    assert joined(rows) == text
    assert all(len(row.text()) >= PIECE_CHARACTERS // 2 for row in good(rows)[:-1])
    assert all(len(row.text()) < 2 * PIECE_CHARACTERS for row in good(rows))


def test_a_byte_order_mark_of_a_document(tmp_path: Path) -> None:
    """A byte order mark is not part of the text."""
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n")

    assert list(read_rows(path, FIELDS, FORMATS["txt"])) == [Row(1, {"text": "a\n", CONTINUES: False})]
