"""Which format a file has: its content decides where it is clear, or else its name."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import FORMATS, BadRow, Field, Layout, Options, Row, Shape, read_rows, sniff, sniff_stream

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FLAG = Field("continues", "flag", "continues", "", optional=True)
TOKENS = Field("tokens", "tokens", "tokens", "--set data.token_column=NAME", ("words",))
TAGS = Field("tags", "tags", "upos", "--set data.tag_column=NAME", ("tags",))
CONTENT = {
    "table": "text,label\na,x\nb,y\n",
    "json": '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    "fasttext": "__label__x a\n__label__y b\n",
}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.ft", "a.txt", "a.data", "a"])
@pytest.mark.parametrize("format", CONTENT)
def test_the_content_beats_the_name(tmp_path: Path, format: str, name: str) -> None:
    """A table named `.jsonl`, or JSON named `.csv`, is read as what it is."""
    path = tmp_path / name
    path.write_text(CONTENT[format])
    file = sniff(path, (TEXT, LABEL), ("records",))

    assert file is not None
    assert file.layout.format == format
    assert [row.values for row in file.rows() if isinstance(row, Row)] == [
        {"text": "a", "label": "x"},
        {"text": "b", "label": "y"},
    ]


@pytest.mark.parametrize(
    ("content", "shapes"),
    [
        ("some text\nof lines\n", ("records",)),
        ("a,x\nb,y\n", ("records",)),
        ("text\na\n", ("records",)),
        ("", ("records", "lines")),
        ("To be, or not to be\n", ("document", "records")),
    ],
)
def test_a_format_that_is_not_clear(tmp_path: Path, content: str, shapes: tuple[Shape, ...]) -> None:
    """Without a suffix that is known it stays unknown."""
    path = tmp_path / "a.data"
    path.write_text(content)

    assert sniff(path, (TEXT,), shapes) is None


@pytest.mark.parametrize(
    "content", [CONTENT["json"], CONTENT["fasttext"], CONTENT["table"], "[1]\n", "text\n"]
)
def test_a_text_file_of_lines_stays_lines(tmp_path: Path, content: str) -> None:
    """Prediction reads each line of a `.txt` as a text, and generation the whole."""
    path = tmp_path / "a.txt"
    path.write_text(content)
    for shapes, format in ((("records", "lines"), "lines"), (("document", "records"), "txt")):
        file = sniff(path, (TEXT, FLAG), shapes)  # type: ignore[arg-type]
        assert file is not None
        assert file.layout.format == format


def test_a_damaged_file_has_the_format_of_its_name(tmp_path: Path) -> None:
    """Its rows say what is wrong."""
    path = tmp_path / "a.jsonl"
    path.write_text("text\n")
    file = sniff(path, (TEXT,), ("records",))

    assert file is not None
    assert [type(row) for row in file.rows()] == [BadRow]


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_file_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    """It is a user error with the path."""
    path = tmp_path / name

    with pytest.raises(UserError, match=r"cannot be read: (No such file|Is a directory)"):
        sniff(path, (TEXT,), ("records",))


class Pipe:
    """A stream that cannot be read twice, in small pieces."""

    def __init__(self, content: bytes) -> None:
        reading, writing = os.pipe()
        self.stream = os.fdopen(reading, "rb")
        self._thread = threading.Thread(target=self._write, args=(writing, content))
        self._thread.start()

    @staticmethod
    def _write(writing: int, content: bytes) -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            for start in range(0, len(content), 10_000):
                stream.write(content[start : start + 10_000])

    def close(self) -> None:
        self._thread.join()
        self.stream.close()


@pytest.mark.parametrize("rows", [1, 8_000])
@pytest.mark.parametrize("format", CONTENT)
def test_a_pipe(format: str, rows: int) -> None:
    """The beginning that was examined is not lost."""
    first, *others = CONTENT[format].splitlines(keepends=True)
    body = "".join(others if format == "table" else [first, *others])
    pipe = Pipe(((first if format == "table" else "") + body * rows).encode())
    file = sniff_stream(pipe.stream, "stdin", (TEXT, LABEL), ("records", "lines"))

    assert file is not None
    assert file.layout.format == format
    assert sum(isinstance(row, Row) for row in file.rows()) == 2 * rows
    pipe.close()


def test_a_stream_of_a_given_format() -> None:
    """The content then decides only the layout."""
    for name, number in (("lines", 3), ("table", 2)):
        file = sniff_stream(
            io.BytesIO(b"text;n\na;1\nb;2\n"), "stdin", (TEXT,), ("records", "lines"), format=FORMATS[name]
        )
        assert file is not None
        assert len(list(file.rows())) == number


def test_a_stream_that_is_not_clear() -> None:
    """It has a text in each line, if that is a shape that is read."""
    file = sniff_stream(io.BytesIO(b"some text\n\nmore"), "stdin", (TEXT,), ("records", "lines"))

    assert file is not None
    assert [row.text() for row in file.rows() if isinstance(row, Row)] == ["some text", "", "more"]
    assert sniff_stream(io.BytesIO(b"some text\n"), "stdin", (TEXT,), ("records",)) is None


def test_an_error_in_a_stream_has_its_name() -> None:
    """Also one that is found while it is read."""
    file = sniff_stream(io.BytesIO(b'[{"text": "a"}, {"text": "b"'), "stdin", (TEXT,), ("records",))

    assert file is not None
    with pytest.raises(UserError, match=r"stdin: not JSON in line 1: "):
        list(file.rows())
    with pytest.raises(UserError, match=r"stdin: no column 'text'; there is 'body'"):
        sniff_stream(io.BytesIO(b'{"body": "a"}\n'), "stdin", (TEXT,), ("records",))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("other", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.ft", "a.txt", "a.jsonl"])
def test_what_ends_a_line(tmp_path: Path, name: str, other: str, end: str) -> None:
    """Line feed, carriage return, or both; no other character of Unicode."""
    text = f"one{other}two"
    lines = {
        "a.csv": ["text,label", f"{text},x", "b,y"],
        "a.tsv": ["text\tlabel", f"{text}\tx", "b\ty"],
        "a.ft": [f"__label__x {text}", "__label__y b"],
        "a.txt": [text, "b"],
        "a.jsonl": ['{"text": "' + text + '", "label": "x"}', '{"text": "b", "label": "y"}'],
    }[name]
    if other < " ":  # JSON has no such character
        lines = [line.replace(other, f"\\u{ord(other):04x}") if name == "a.jsonl" else line for line in lines]
    path = tmp_path / name
    path.write_bytes("".join(line + end for line in lines).encode())
    file = sniff(path, (TEXT,) if name == "a.txt" else (TEXT, LABEL), ("records", "lines"))

    assert file is not None
    rows = [row for row in file.rows() if isinstance(row, Row)]
    assert [row.text() for row in rows] == [text, "b"]
    assert [row.line for row in rows] == [len(lines) - 1, len(lines)]


def test_a_carriage_return_among_line_feeds(tmp_path: Path) -> None:
    """It is part of a text: else files that are aligned line by line would be shifted."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\rstill one\ntwo\r\n")

    assert [row.text() for row in read_rows(path, (TEXT,), FORMATS["lines"]) if isinstance(row, Row)] == [
        "one\rstill one",
        "two",
    ]


@pytest.mark.parametrize(
    ("layout", "described"),
    [
        (Layout("table", title="CSV", encoding="utf-8", line_end="LF", delimiter=",", header=True), "CSV"),
        (Layout("table", title="TSV", encoding="utf-8", delimiter="\t", header=False), "TSV, no header"),
        (
            Layout(
                "table",
                title="CSV",
                compression="gzip",
                encoding="windows-1252",
                line_end="CRLF",
                delimiter=";",
                header=True,
                columns=("review", "stars"),
                chosen={"text": "review", "label": "stars"},
            ),
            "CSV, gzip, windows-1252, CRLF, columns separated by ';', header: "
            "text = 'review', label = 'stars'",
        ),
        (
            Layout("table", title="CSV", delimiter="|", header=False, chosen={"text": "2,3", "label": "1"}),
            "CSV, columns separated by '|', no header: text = column 2,3, label = column 1",
        ),
        (Layout("json", title="JSON Lines", several_labels=True), "JSON Lines, several labels in a row"),
        (
            Layout("json", title="JSON array", encoding="utf-16", chosen={"text": "body"}),
            "JSON array, UTF-16: text = 'body'",
        ),
        (Layout("packed"), "packed"),
    ],
)
def test_a_layout_in_one_line(layout: Layout, described: str) -> None:
    """What is usual is left out."""
    assert layout.describe() == described


def test_options_and_compression_are_in_the_layout(tmp_path: Path) -> None:
    """All that was decided can be written into a manifest."""
    import gzip

    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress("review;stars\r\nschön;5\r\nöde;1\r\n".encode("latin-1")))
    fields = (Field("text", "text", "review", ""), Field("label", "label", "stars", ""))
    file = sniff(path, fields, ("records",), Options(encoding="latin-1"))

    assert file is not None
    assert file.layout == Layout(
        "table",
        title="CSV",
        variant="quoted",
        compression="gzip",
        encoding="latin-1",
        line_end="CRLF",
        delimiter=";",
        header=True,
        columns=("review", "stars"),
        chosen={"text": "review", "label": "stars"},
    )


def test_sentences_are_not_taken_for_records(tmp_path: Path) -> None:
    """A suffix that names sentences is believed."""
    path = tmp_path / "a.conll"
    path.write_text("a X\nb Y\n")
    file = sniff(path, (TOKENS, TAGS), ("sentences", "records"))

    assert file is not None
    assert file.layout.format == "conll"


def test_every_format_has_a_title() -> None:
    """It is printed with what was decided."""
    assert all(format.title for format in FORMATS.values())
