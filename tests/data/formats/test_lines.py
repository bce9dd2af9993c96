"""Plain text with one text per line."""

from __future__ import annotations

from pathlib import Path

from data.formats import FORMATS, BadRow, Field, Row, read_rows

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")


def read(path: Path, content: str | bytes) -> list[Row | BadRow]:
    """Write a file, and return its rows."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, (TEXT,), FORMATS["lines"]))


def test_a_line_is_a_text(tmp_path: Path) -> None:
    """Quotation marks, commas and spaces have no special meaning, and an empty line is an empty text."""
    rows = read(tmp_path / "rows.txt", 'a, "b"\n\n  c \n{"text": 1}')

    assert rows == [
        Row(line, {"text": text}) for line, text in enumerate(['a, "b"', "", "  c ", '{"text": 1}'], 1)
    ]


def test_a_byte_order_mark_of_lines(tmp_path: Path) -> None:
    """A byte order mark is not part of the first text."""
    assert read(tmp_path / "rows.txt", b"\xef\xbb\xbfa\n") == [Row(1, {"text": "a"})]


def test_line_ends_of_windows_in_lines(tmp_path: Path) -> None:
    r"""`\r\n` ends a text."""
    rows = read(tmp_path / "rows.txt", "a\r\n\r\nb\r\n")

    assert [r.values["text"] for r in rows if isinstance(r, Row)] == ["a", "", "b"]


def test_utf16_in_lines(tmp_path: Path) -> None:
    """A byte order mark decides the encoding."""
    rows = read(tmp_path / "rows.txt", "ab\ncd\n".encode("utf-16"))

    assert rows == [Row(1, {"text": "ab"}), Row(2, {"text": "cd"})]
