"""Line-aligned files of labels, tokens and tags."""

from __future__ import annotations

import bz2
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, Options, Row
from data.formats.parallel import read_parallel, sniff_sides

TEXT = Field("text", "text", "text", "")
LABEL = Field("label", "label", "label", "")
LABELS = Field("label", "labels", "label", "")
TOKENS = Field("tokens", "tokens", "tokens", "")
TAGS = Field("tags", "tags", "tags", "")


def write(folder: Path, **content: str | bytes) -> list[Path]:
    """Write the file of each field."""
    paths = []
    for name, own in content.items():
        path = folder / f"train.{name}"
        path.write_bytes(own if isinstance(own, bytes) else own.encode())
        paths.append(path)
    return paths


def test_texts_and_labels(tmp_path: Path) -> None:
    """A label is cleaned; an empty line of labels is no label, and an empty text is a text."""
    paths = write(tmp_path, text="a, b\n\n c \nd\n", label=" pos\u200b\nneg\n\n\ufeffpos\n")

    assert list(read_parallel(paths, (TEXT, LABEL))) == [
        Row(1, {"text": "a, b", "label": "pos"}),
        Row(2, {"text": "", "label": "neg"}),
        Row(3, {"text": " c "}),
        Row(4, {"text": "d", "label": "pos"}),
    ]


@pytest.mark.parametrize(
    ("separator", "line"), [("", "x y  x"), ("|", "x | y|x"), (",", "x,y"), ("\t", "x\ty")]
)
def test_sets_of_labels(tmp_path: Path, separator: str, line: str) -> None:
    """They are separated by white space, or by what the field says."""
    field = Field("label", "labels", "label", "", separator=separator)
    paths = write(tmp_path, text="a\n", label=f"{line}\n")

    assert list(read_parallel(paths, (TEXT, field))) == [Row(1, {"text": "a", "label": ("x", "y")})]


@pytest.mark.parametrize("space", [" ", "\t", "  "])
def test_tokens_and_tags(tmp_path: Path, space: str) -> None:
    """Spaces and tabs separate them, no other white space; they must be aligned."""
    paths = write(
        tmp_path,
        tokens=space.join(["play", "10\u00a0000", "songs"]) + "\n\na b\n",
        tags=space.join(["O", "B-N", "O"]) + " \n\nX\n",
        label="play\nnone\nplay\n",
    )

    assert list(read_parallel(paths, (TOKENS, TAGS, LABEL))) == [
        Row(1, {"tokens": ("play", "10\u00a0000", "songs"), "tags": ("O", "B-N", "O"), "label": "play"}),
        Row(2, {"tokens": (), "tags": (), "label": "none"}),
        BadRow(3, "misaligned: 2 tokens, 1 tags"),
    ]


def test_a_bad_value_names_its_file(tmp_path: Path) -> None:
    """The reason has the name of the file that has it."""
    paths = write(tmp_path, text="a\nb\n", label=b"x\x1by\n" + "zäö".encode() + b"\xff\n")

    assert list(read_parallel(paths, (TEXT, LABEL))) == [
        BadRow(1, "'train.label' has a control character: 'x\\x1by'"),
        BadRow(2, "train.label is not UTF-8: byte 0xff at character 4"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_file_has_its_own_layout(tmp_path: Path, end: str) -> None:
    """One may be compressed, in UTF-16, or have other line ends."""
    texts = f"ä{end}中{end}"
    for content in (texts.encode("utf-16"), texts.encode("utf-8-sig"), bz2.compress(texts.encode())):
        paths = write(tmp_path, text=content, label="x\ny")
        assert list(read_parallel(paths, (TEXT, LABEL))) == [
            Row(1, {"text": "ä", "label": "x"}),
            Row(2, {"text": "中", "label": "y"}),
        ]
    layouts = [file.layout for file in sniff_sides(paths)]
    assert [(layout.compression, layout.encoding) for layout in layouts] == [
        ("bzip2", "utf-8"),
        ("", "utf-8"),
    ]


def test_the_encoding_of_all_files(tmp_path: Path) -> None:
    """It is said once for all."""
    paths = write(tmp_path, text="schön\n".encode("latin-1"), label="gut\n")

    with pytest.raises(UserError, match=r"train\.text: not UTF-8: byte 0xf6 in line 1"):
        list(read_parallel(paths, (TEXT, LABEL)))
    assert list(read_parallel(paths, (TEXT, LABEL), Options(encoding="latin-1"))) == [
        Row(1, {"text": "schön", "label": "gut"})
    ]


@pytest.mark.parametrize("shorter", [0, 1])
def test_labels_that_are_missing_at_the_end(tmp_path: Path, shorter: int) -> None:
    """The message has both numbers of lines."""
    lines = ["a\nb\n", "x\ny\n"]
    lines[shorter] = lines[shorter][:2]
    paths = write(tmp_path, text=lines[0], label=lines[1])

    with pytest.raises(
        UserError, match=r"train\.(text|label): line 2 is missing: .* has \d and .* has \d lines"
    ):
        list(read_parallel(paths, (TEXT, LABEL)))
