"""Compressed files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from data.errors import UserError
from data.formats import Field, Row, open_text, sniff, sniff_stream, suffix_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
COMPRESS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gz", gzip.compress),
    "bzip2": ("bz2", bz2.compress),
    "xz": ("xz", lzma.compress),
    "zstd": ("zst", zstandard.compress),
}
CONTENT = b"text\tid\n" + b"".join(b"%d some text\t%d\n" % (i * 7919 % 100_003, i) for i in range(12_000))

PACKED = {kind: compress(CONTENT) for kind, (_, compress) in COMPRESS.items()}


def texts(path: Path) -> list[str]:
    file = sniff(path, (TEXT,), ("records", "lines"))
    assert file is not None
    return [row.text() for row in file.rows() if isinstance(row, Row)]


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("name", ["train.tsv.{}", "train.tsv", "TRAIN.TSV.{}", "train.tsv.gz", "train"])
def test_the_content_decides_the_compression(tmp_path: Path, kind: str, name: str) -> None:
    """The name of the file need not say it, and may even say another one."""
    path = tmp_path / name.format(COMPRESS[kind][0])
    path.write_bytes(PACKED[kind])

    file = sniff(path, (TEXT,), ("records",))

    assert file is not None
    assert file.layout.compression == kind
    assert len(texts(path)) == 12_000
    assert texts(path)[-1] == f"{11_999 * 7919 % 100_003} some text"


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("size", [30, -5, -400])
def test_a_truncated_file_is_one_error(tmp_path: Path, kind: str, size: int) -> None:
    """It says that the file is incomplete, wherever the file ends."""
    path = tmp_path / "train.tsv"
    path.write_bytes(PACKED[kind][:size])

    with pytest.raises(
        UserError, match=r"train\.tsv: cannot be read: it is incomplete or damaged \(.*copy or"
    ):
        texts(path)


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_damaged_file_is_one_error(tmp_path: Path, kind: str) -> None:
    """Changed bytes are found by the checksums."""
    packed = bytearray(PACKED[kind])
    if kind == "zstd":  # by default it has no checksum
        packed = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(CONTENT))
    middle = len(packed) // 2
    packed[middle : middle + 8] = bytes(8)
    path = tmp_path / "train.tsv"
    path.write_bytes(packed)

    with pytest.raises(UserError, match=r"train\.tsv: cannot be read: it is incomplete or damaged"):
        texts(path)


@pytest.mark.parametrize("kind", COMPRESS)
def test_parts_that_were_joined(tmp_path: Path, kind: str) -> None:
    """`cat a.gz b.gz` is one file."""
    path = tmp_path / "train.tsv"
    path.write_bytes(COMPRESS[kind][1](CONTENT[:1000]) + COMPRESS[kind][1](CONTENT[1000:]))

    assert len(texts(path)) == 12_000


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_stream(kind: str) -> None:
    """Standard input may be compressed too."""
    stream = io.BytesIO(PACKED[kind])
    file = sniff_stream(stream, "stdin", (TEXT,), ("records", "lines"))

    assert file is not None
    assert sum(1 for _ in file.rows()) == 12_000


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_text(tmp_path: Path, kind: str) -> None:
    """Vector files are opened so."""
    path = tmp_path / "vectors"
    path.write_bytes(PACKED[kind])

    with open_text(path) as lines:
        assert sum(1 for _ in lines) == 12_001


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_file_that_is_compressed_twice(tmp_path: Path, kind: str) -> None:
    """It is refused, with the way to read it."""
    path = tmp_path / "train.tsv"
    path.write_bytes(gzip.compress(PACKED[kind]))

    with pytest.raises(UserError, match=r"train\.tsv: compressed twice; decompress it once"):
        texts(path)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert len(texts(path)) == 12_000


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_file_without_content(tmp_path: Path, kind: str) -> None:
    """It has no rows."""
    path = tmp_path / "train.tsv"
    path.write_bytes(COMPRESS[kind][1](b""))

    assert texts(path) == []


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.csv.bz2", "csv"),
        ("a.JSONL.XZ", "jsonl"),
        ("a.txt.zst", "txt"),
        ("a.bz2", ""),
        ("a.csv.gz.zst", "csv"),
    ],
)
def test_suffixes_of_compression(name: str, suffix: str) -> None:
    """The suffix of the format is before them."""
    assert suffix_of(Path(name)) == suffix
