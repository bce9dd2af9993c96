"""Encodings, decided from the first bytes or said by the user."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, File, Options, Row, sniff

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
TABLE = "text,label\nUn café très bon,pos\nUn goût amer à éviter,neg\n"
ROWS = [
    Row(2, {"text": "Un café très bon", "label": "pos"}),
    Row(3, {"text": "Un goût amer à éviter", "label": "neg"}),
]


def decide(folder: Path, content: bytes, encoding: str = "", name: str = "train.csv") -> File:
    """Write a file, and return it with its layout."""
    path = folder / name
    path.write_bytes(content)
    fields = (TEXT,) if name.endswith(".txt") else (TEXT, LABEL)
    file = sniff(path, fields, ("records", "lines"), Options(encoding=encoding))
    assert file is not None
    return file


def refusal(folder: Path, content: bytes, encoding: str = "", name: str = "train.csv") -> str:
    """Return the message without the path of a file that is refused."""
    with pytest.raises(UserError) as caught:
        decide(folder, content, encoding, name)
    return str(caught.value).removeprefix(f"{folder / name}: ")


@pytest.mark.parametrize(
    ("mark", "codec", "encoding"),
    [
        (b"", "utf-8", "utf-8"),
        (codecs.BOM_UTF8, "utf-8", "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_decides(tmp_path: Path, mark: bytes, codec: str, encoding: str, end: str) -> None:
    """It is no part of the text, and lines may end in three ways."""
    file = decide(tmp_path, mark + TABLE.replace("\n", end).encode(codec))

    assert list(file.rows()) == ROWS
    assert file.layout.encoding == encoding
    assert file.layout.line_end == {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}[end]


@pytest.mark.parametrize("codec", ["latin-1", "windows-1252", "iso-8859-15", "cp850", "mac-roman", "utf-16"])
def test_the_user_may_say_the_encoding(tmp_path: Path, codec: str) -> None:
    """Any encoding of text is read, in upper or lower case."""
    assert list(decide(tmp_path, TABLE.encode(codec), codec.upper()).rows()) == ROWS


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("content", [TABLE, "text,label\n这部电影很好看我很喜欢,正\n太差了,负\n"])
def test_wide_characters_without_a_mark(tmp_path: Path, codec: str, content: str) -> None:
    """The message has the encoding, which can be read when it is said."""
    message = refusal(tmp_path, content.encode(codec))

    assert message == (f"{codec.upper()} without a byte order mark; pass --set data.encoding={codec}")
    stated = message.rpartition("=")[2]
    rows = list(decide(tmp_path, content.encode(codec), stated).rows())
    assert [row.text() for row in rows if isinstance(row, Row)] == [
        line.split(",")[0] for line in content.splitlines()[1:]
    ]


def test_a_mark_of_the_encoding_that_is_said(tmp_path: Path) -> None:
    """It is no part of the first name, in whichever way the encoding is named."""
    for codec in ("utf-16-le", "utf-16", "UTF_16_LE"):
        assert list(decide(tmp_path, codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"), codec).rows()) == ROWS
    for codec in ("utf-8", "UTF8", "utf_8_sig"):
        assert list(decide(tmp_path, TABLE.encode("utf-8-sig"), codec).rows()) == ROWS


@pytest.mark.parametrize(
    ("content", "codec", "guess"),
    [
        (TABLE, "windows-1252", "windows-1252"),
        ("text,label\nÜber die Größe läßt sich streiten,pos\n", "latin-1", "windows-1252"),
        ("text,label\n“It’s good” – said no one,neg\n", "windows-1252", "windows-1252"),
        ("text,label\nОчень хороший фильм,pos\n", "windows-1251", "windows-1251"),
        ("text,label\nZażółć gęślą jaźń,pos\n", "windows-1250", "windows-1250"),
        ("text,label\n映画は良かった,pos\n", "shift_jis", "shift_jis"),
    ],
)
def test_bytes_that_are_not_utf8_are_one_error(tmp_path: Path, content: str, codec: str, guess: str) -> None:
    """The message has the first of them and a likely encoding, with which the file is read."""
    message = refusal(tmp_path, content.encode(codec))

    assert re.fullmatch(
        rf"not UTF-8: byte 0x[0-9a-f]{{2}} in line 2; it looks like {guess}; name its encoding, e\.g\. "
        rf"--set data\.encoding={guess}",
        message,
    )
    first = next(decide(tmp_path, content.encode(codec), message.rpartition("=")[2]).rows())
    assert isinstance(first, Row)
    assert first.text() == content.splitlines()[1].rpartition(",")[0]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt", "a.tsv"])
def test_every_format_names_another_encoding(tmp_path: Path, name: str) -> None:
    """It is said before a column is looked for."""
    assert refusal(tmp_path, b"caf\xe9 tr\xe8s bon\n" * 3, name=name).startswith(
        "not UTF-8: byte 0xe9 in line 1;"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("latin-11", "; did you mean 'latin-1'?"),
        ("windows1253x", "; did you mean 'windows-1253'?"),
        ("base64", ""),
        ("rot13", ""),
        ("zlib", ""),
        ("undefined", ""),
        ("unicode_escape", ""),
        ("punycode", ""),
        ("utf 17", ""),
    ],
)
def test_an_unknown_encoding(tmp_path: Path, name: str, hint: str) -> None:
    """Names of codecs that do not decode text are no encodings."""
    message = refusal(tmp_path, TABLE.encode(), name)

    assert message.startswith(
        f"data.encoding = {name!r}: no encoding of text is named so; expected a name such"
    )
    assert not hint or message.endswith(hint) or "did you mean" in message


@pytest.mark.parametrize(
    ("content", "stated", "better"),
    [
        (TABLE.encode(), "ascii", "utf-8"),
        (TABLE.encode("latin-1"), "utf-8", "windows-1252"),
        (TABLE.encode(), "utf-16", "utf-8"),
        (TABLE.encode("latin-1") + b"!", "utf-16-le", "windows-1252"),
        (TABLE.encode(), "utf-32", "utf-8"),
    ],
)
def test_an_encoding_that_the_file_has_not(tmp_path: Path, content: bytes, stated: str, better: str) -> None:
    """The message says so, and the advice works."""
    message = refusal(tmp_path, content, stated)

    assert ", which data.encoding says" in message
    assert message.endswith(f"--set data.encoding={better}")
    assert list(decide(tmp_path, content.removesuffix(b"!"), better).rows()) == ROWS


@pytest.mark.parametrize(
    ("codec", "bad"),
    [
        ("utf-8", b"\xff"),
        ("utf-16-le", b"\x00\xd8"),
        ("utf-16-be", b"\xdc\x00"),
        ("utf-32-le", b"\xff\xff\xff\xff"),
        ("windows-1252", b"\x81"),
        ("ascii", b"\xe9"),
        ("shift_jis", b"\xa0"),
        ("gb18030", b"\xff"),
    ],
)
def test_bytes_that_cannot_be_decoded_late_in_a_file(tmp_path: Path, codec: str, bad: bytes) -> None:
    """They make one bad row, in every encoding, and the next row is read."""
    row = "some text that is long,pos\n".encode(codec)
    content = "text,label\n".encode(codec) + row * 12_000
    end = "x,".encode(codec) + "pos\n".encode(codec) + row
    rows = list(decide(tmp_path, content + bad + end, codec).rows())

    assert len(rows) == 12_002
    assert [type(row) for row in rows[-3:]] == [Row, BadRow, Row]
    assert isinstance(rows[-2], BadRow)
    assert rows[-2].line == 12_002
    title = codec.upper() if codec.startswith("utf") else codec
    assert f"is not {title}: byte 0x{bad[0]:02x} at character 1" in rows[-2].reason


def test_a_character_at_the_end_of_what_is_examined(tmp_path: Path) -> None:
    """It may be incomplete there; the file is UTF-8 nonetheless."""
    for shift in range(4):
        content = "text,label\n" + "x" * shift + "𝒜é" * 100_000 + ",pos\n"
        file = decide(tmp_path, content.encode())
        assert file.layout.encoding == "utf-8"
        assert len(list(file.rows())) == 1


def test_a_binary_file_has_no_encoding(tmp_path: Path) -> None:
    """Also if the user says one."""
    content = bytes(range(64)) * 10

    for stated in ("", "latin-1", "cp437"):
        assert refusal(tmp_path, content, stated).startswith("a binary file; ")


def test_a_zero_is_no_other_encoding(tmp_path: Path) -> None:
    """A few of them in a text in UTF-8 are characters."""
    rows = list(decide(tmp_path, b"a text\nwith \x00 a zero\n" * 20, name="a.txt").rows())

    assert rows[1] == Row(2, {"text": "with \x00 a zero"})
