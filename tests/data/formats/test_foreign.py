"""Files that are no examples."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.formats import BadRow, Field, read_text, sniff, sniff_stream

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")


def zipped(*names: str) -> bytes:
    """Return an archive of files of these names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(
                name, "application/vnd.oasis.opendocument.text" if name == "mimetype" else "a,b\n"
            )
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.csv"), io.BytesIO())
    return stream.getvalue()


def arrays() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, text=np.zeros(3))
    return stream.getvalue()


def array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(["a", "b"]))
    return stream.getvalue()


def database(path: Path) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("create table rows (text)")
    connection.commit()
    connection.close()
    return path.read_bytes()


FILES = {
    "a ZIP archive; unpack it": zipped("train.csv", "test.csv"),
    "an Excel file; save the sheet as CSV": zipped("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"),
    "a Word file; save its text": zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    "an OpenDocument file; save its text": zipped("mimetype", "content.xml"),
    "a NumPy archive; save its rows as JSON Lines": arrays(),
    "a NumPy array; save its rows as JSON Lines": array(),
    "a tar archive; unpack it": tarred(),
    "a PDF file; save its text": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "a pickle; save its rows as JSON Lines": pickle.dumps({"text": ["a"]}),
    "an RTF file": rb"{\rtf1\ansi text}",
    "a pointer of Git LFS in place of the file; fetch the file with 'git lfs pull'": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    ),
    "an old Office file": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100),
    "a binary file": bytes(range(256)) * 4,
}


@pytest.mark.parametrize(
    "name", ["train.csv", "train.jsonl", "train.txt", "train.docx", "train", "train.tsv.gz"]
)
@pytest.mark.parametrize("what", FILES)
def test_a_file_without_examples_is_named(tmp_path: Path, what: str, name: str) -> None:
    """The message says what it is and what to do, whatever the name of the file."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(FILES[what]) if name.endswith(".gz") else FILES[what])

    with pytest.raises(UserError) as caught:
        sniff(path, (TEXT,), ("records", "lines"))
    assert str(caught.value).startswith(f"{path}: {what}")


@pytest.mark.parametrize("what", FILES)
def test_such_a_stream_is_named(what: str) -> None:
    """Standard input is examined in the same way."""
    with pytest.raises(UserError) as caught:
        sniff_stream(io.BytesIO(FILES[what]), "stdin", (TEXT,), ("records", "lines"))
    assert str(caught.value).startswith(f"stdin: {what}")


def test_a_database(tmp_path: Path) -> None:
    """An SQLite database is no table."""
    content = database(tmp_path / "rows.db")

    with pytest.raises(UserError, match="an SQLite database; export its table as CSV"):
        sniff_stream(io.BytesIO(content), "stdin", (TEXT,), ("records",))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [["a", "b"], {"text": ["a"]}, ("a", 1), np.arange(3), "text"])
def test_pickles(protocol: int, value: object) -> None:
    """Every protocol that is binary is known, or is at least a binary file."""
    content = pickle.dumps(value, protocol)

    with pytest.raises(UserError, match=r"a pickle; save its rows|a binary file|not UTF-8"):
        sniff_stream(io.BytesIO(content), "stdin", (TEXT,), ("records", "lines"))


@pytest.mark.parametrize(
    "content",
    [
        "Pkl is a language.\n",
        "PK wins the match\n",
        "ORC and elf\n",
        "BZh, said the bee\n",
        "%PDF is a comment\n",
        "Objects are here\n",
        "\x1b[1mbold\x1b[0m text of a terminal\n",
    ],
)
def test_texts_that_begin_alike(tmp_path: Path, content: str) -> None:
    """A text is not taken for a binary file."""
    path = tmp_path / "a.txt"
    path.write_text(content)
    file = sniff(path, (TEXT,), ("lines",))

    assert file is not None
    assert len(list(file.rows())) == 1


def test_a_whole_file_as_a_text(tmp_path: Path) -> None:
    """A file that is no text is one row that cannot be read."""
    path = tmp_path / "0_9.txt"
    for content, expected in (
        (b"One.\r\nTwo.\n", "One.\r\nTwo.\n"),
        (b"", ""),
        (b"\xef\xbb\xbfOne.", "One."),
        ("Ünö".encode("utf-16"), "Ünö"),
        (gzip.compress(b"One."), "One."),
    ):
        path.write_bytes(content)
        assert read_text(path) == expected
    for content, reason in (
        (b"%PDF-1.7", "a PDF file; "),
        (b"caf\xe9", "not UTF-8: byte 0xe9 in line 1; "),
        ("äöü".encode() + b"\xff", "not UTF-8: byte 0xff at character 4"),
        (gzip.compress(b"One.")[:-3], "cannot be read: it is incomplete or damaged"),
    ):
        path.write_bytes(content)
        found = read_text(path)
        assert isinstance(found, BadRow)
        assert found.reason.startswith(reason)
    path.unlink()
    found = read_text(path)
    assert isinstance(found, BadRow)
    assert found.reason == "cannot be read: No such file or directory"
