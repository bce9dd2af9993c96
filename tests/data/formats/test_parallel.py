"""Line-aligned files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from data.errors import UserError
from data.formats import BadRow, Field, Row
from data.formats.parallel import read_parallel
from data.sources import Source, open_source

SIDES = (
    Field("source", "text", "en", "--set data.source=NAME"),
    Field("target", "text", "de", "--set data.target=NAME"),
)


def write_pair(folder: Path, english: str | bytes, german: str | bytes, stem: str = "train") -> list[Path]:
    """Write two line-aligned files; bytes are compressed."""
    paths = []
    for language, content in (("en", english), ("de", german)):
        path = folder / f"{stem}.{language}{'.gz' if isinstance(content, bytes) else ''}"
        path.write_bytes(gzip.compress(content) if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


def pair(line: int, source: str, target: str) -> Row:
    return Row(line, {"source": source, "target": target})


def test_lines_of_two_files(tmp_path: Path) -> None:
    """The first file has the first field; an empty line is an empty text; the last line needs no end."""
    paths = write_pair(tmp_path, "A dog.\n\nA cat.", "Ein Hund.\r\n\r\nEine Katze.\r\n")

    expected = [pair(1, "A dog.", "Ein Hund."), pair(2, "", ""), pair(3, "A cat.", "Eine Katze.")]
    assert list(read_parallel(paths, SIDES)) == expected
    assert next(read_parallel(paths[::-1], SIDES)) == pair(1, "Ein Hund.", "A dog.")


def test_compressed_files(tmp_path: Path) -> None:
    """One file may be compressed and the other not."""
    paths = write_pair(tmp_path, b"a\nb\n", "x\ny\n")

    assert list(read_parallel(paths, SIDES)) == [pair(1, "a", "x"), pair(2, "b", "y")]


@pytest.mark.parametrize("longer", ["en", "de"])
def test_files_of_unequal_length_are_refused(tmp_path: Path, longer: str) -> None:
    """The message has the names of the files and their numbers of lines."""
    texts = ("a\n" * 1_205, b"x\n" * 1_204) if longer == "en" else ("a\n" * 1_204, b"x\n" * 1_205)
    english, german = write_pair(tmp_path, *texts)
    counts = (1_205, 1_204) if longer == "en" else (1_204, 1_205)
    shorter = german if longer == "en" else english

    with pytest.raises(UserError) as caught:
        list(read_parallel([english, german], SIDES))
    assert str(caught.value) == (
        f"{shorter}: line 1,205 is missing: "
        f"{english} has {counts[0]:,} and {german} has {counts[1]:,} lines; "
        "expected the same number in each"
    )


def test_bytes_of_a_pair_that_are_not_utf8(tmp_path: Path) -> None:
    """The reason names the file; the following lines are still aligned."""
    english, german = write_pair(tmp_path, "a\nb\nc\n", "x\n")
    german.write_bytes(b"x\n\xe9\n" + "zäöü\n".encode())

    assert list(read_parallel([english, german], SIDES)) == [
        pair(1, "a", "x"),
        BadRow(2, "train.de is not UTF-8: byte 0xe9 at character 1"),
        pair(3, "c", "zäöü"),
    ]


def test_a_missing_file_of_a_pair(tmp_path: Path) -> None:
    """A file that cannot be opened is a user error."""
    paths = write_pair(tmp_path, "a\n", "x\n")
    paths[1].unlink()

    with pytest.raises(UserError, match=r"train\.de: cannot be read: No such file"):
        list(read_parallel(paths, SIDES))


def find_pairs(data: Path) -> Source:
    source = open_source(str(data), SIDES, ("records",), ("en", "de"))
    assert isinstance(source, Source)
    return source


def test_a_folder_of_parallel_files(tmp_path: Path) -> None:
    """A split is a pair of files, which may be compressed; files of other languages are ignored."""
    write_pair(tmp_path, "a\nb\n", "x\ny\n")
    write_pair(tmp_path, b"c\n", "z\n", "dev")
    (tmp_path / "train.fr").write_text("no\nlines\nof\nthese\n")
    source = find_pairs(tmp_path)

    assert set(source.parts) == {"train", "validation"}
    assert [row for _, row in source.parts["train"].rows()] == [pair(1, "a", "x"), pair(2, "b", "y")]
    assert [row for _, row in source.parts["validation"].rows()] == [pair(1, "c", "z")]
    assert source.parts["train"].where == f"{tmp_path / 'train.en'} and {tmp_path / 'train.de'}"


def test_a_folder_that_lacks_a_side(tmp_path: Path) -> None:
    """The message names the missing file, of any split and side."""
    write_pair(tmp_path, "a\n", "x\n")
    test = write_pair(tmp_path, "a\n", "x\n", "test")
    for path in test:
        content = path.read_text()
        path.unlink()
        with pytest.raises(UserError) as caught:
            find_pairs(tmp_path)
        assert f"{tmp_path}: {path.name} is missing, the other side of test; there is " in str(caught.value)
        path.write_text(content)


def test_a_folder_without_parallel_files(tmp_path: Path) -> None:
    """The message has the names of both kinds of files."""
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no training file; expected one of "
        "train.jsonl, train.json, train.ndjson, train.csv, train.tsv, train.parquet, train.arrow, "
        "train.feather, or train.en and train.de (also compressed); "
        "there is nothing"
    )


@pytest.mark.parametrize("side", [0, 1])
def test_a_pair_of_files(tmp_path: Path, split_rows: Callable[..., dict[str, list[Row]]], side: int) -> None:
    """The name of either is enough; examples are split by the hash of the source."""
    lines = [f"sentence {i % 300}\n" for i in range(600)]
    paths = write_pair(tmp_path, "".join(lines), "".join(lines).replace("sentence", "Satz").encode(), "My.v2")
    source = find_pairs(paths[side])
    found = split_rows(source)

    assert source.name == "my"
    assert not source.by_position
    assert sum(map(len, found.values())) == 600
    sets = [{row.text("source") for row in rows} for rows in found.values()]
    assert len(sets) == 3
    assert all(not first & second for first, second in pairwise([*sets, sets[0]]))
    for rows in found.values():
        for row in rows:
            assert row.text("source").replace("sentence", "Satz") == row.text("target")


def test_a_file_without_its_other_side(tmp_path: Path) -> None:
    """The message has the name of the missing file."""
    english, german = write_pair(tmp_path, "a\n", "x\n")
    german.unlink()

    with pytest.raises(UserError) as caught:
        find_pairs(english)
    assert str(caught.value) == f"{german}: no such file; it is the other side of {english}"


def test_the_file_that_is_named_is_read(tmp_path: Path) -> None:
    """A compressed file that is named is read even if there is a plain one."""
    write_pair(tmp_path, "old\n", "alt\n")
    english = write_pair(tmp_path, b"new\n", "alt\n")[0]

    rows = [row for _, row in find_pairs(english).parts["all"].rows()]

    assert rows == [pair(1, "new", "alt")]


def test_the_digest_is_of_both_sides(tmp_path: Path) -> None:
    """Any change of either file results in another digest."""
    digests = set()
    for number, (english, german) in enumerate([("a", "x"), ("b", "x"), ("a", "y"), ("ax", ""), ("x", "a")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_pair(folder, english, german)
        digests.add(find_pairs(folder).digest())

    assert len(digests) == 5
