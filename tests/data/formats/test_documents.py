"""One long text in pieces, and texts that stand line by line in two files."""

from __future__ import annotations

import gzip
import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.formats import CONTINUES, BadRow, Field, Row, read_rows
from data.formats.documents import PIECE_CHARACTERS, read_document
from data.formats.parallel import read_parallel
from data.prepared import prepare
from data.sources import Source, open_source
from data.splits import rows_by_split

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
FLAG = Field(CONTINUES, "flag", CONTINUES, "", optional=True)
FIELDS = (TEXT, FLAG)
SIDES = (
    Field("source", "text", "en", "--set data.source=NAME"),
    Field("target", "text", "de", "--set data.target=NAME"),
)


def pieces(content: str | bytes) -> list[Row | BadRow]:
    """Return the pieces of a document."""
    raw = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return list(read_document(raw, FIELDS))


def good(rows: list[Row | BadRow]) -> list[Row]:
    """Return the rows, none of them bad."""
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row for row in rows if isinstance(row, Row)]


def joined(rows: list[Row | BadRow]) -> str:
    return "".join(row.text() for row in good(rows))


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a piece have 10 characters or so."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", 10)


def test_a_short_document_is_one_piece() -> None:
    """Blank lines and spaces are a part of it, and it need not end with a line feed."""
    for text in ("\n\nOne  line.\n\n\tTwo lines \n", "no end", "two words", " "):
        assert pieces(text) == [Row(1, {"text": text, CONTINUES: False})]


def test_an_empty_document_has_no_pieces() -> None:
    """There is nothing to learn from."""
    assert pieces("") == []


@pytest.mark.usefixtures("short_pieces")
def test_pieces_are_of_whole_lines() -> None:
    """Each has the line that it begins on; all but the first go on where another ended."""
    assert pieces("abc\n\ndefgh\nij\nk\nlmnopq\nr") == [
        Row(1, {"text": "abc\n\ndefgh\n", CONTINUES: False}),
        Row(4, {"text": "ij\nk\nlmnopq\n", CONTINUES: True}),
        Row(7, {"text": "r", CONTINUES: True}),
    ]


@pytest.mark.usefixtures("short_pieces")
def test_a_long_line_is_cut_behind_a_space() -> None:
    """Words stay whole where they can; lines are counted as the file has them."""
    assert pieces("to be or not to be\nthat is\n") == [
        Row(1, {"text": "to be or ", CONTINUES: False}),
        Row(1, {"text": "not to be\n", CONTINUES: True}),
        Row(2, {"text": "that is\n", CONTINUES: True}),
    ]


@pytest.mark.usefixtures("short_pieces")
def test_a_long_line_without_spaces_is_cut_anyway() -> None:
    """A script may have none; what follows knows its line."""
    assert pieces("0123456789abcdefghijkl\nx\n0123456789\ny") == [
        Row(1, {"text": "0123456789", CONTINUES: False}),
        Row(1, {"text": "abcdefghij", CONTINUES: True}),
        Row(1, {"text": "kl\nx\n0123456789", CONTINUES: True}),
        Row(3, {"text": "\ny", CONTINUES: True}),
    ]


@pytest.mark.usefixtures("short_pieces")
def test_a_document_that_ends_where_a_piece_does() -> None:
    """No empty piece follows."""
    assert pieces("012345678\n") == [Row(1, {"text": "012345678\n", CONTINUES: False})]
    assert pieces("0123456789") == [Row(1, {"text": "0123456789", CONTINUES: False})]


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("line", ["é", "word é word word word", "0123456789abcdé", "é0123456789 0123456789"])
def test_bytes_of_a_document_that_are_not_utf8(line: str) -> None:
    """Their line is named, however it is cut, and the lines behind it are still counted right."""
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
    """Whatever it holds, not a sign is lost, doubled or changed, and each piece begins on its line."""
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
    """Pieces are of about the size that is said, and much longer lines are no hindrance."""
    lines = [f"line {i} of a long text" * (1 + i % 7) for i in range(6_000)]
    lines[3_000] = "word " * PIECE_CHARACTERS
    text = "\r\n".join(lines)

    rows = pieces(text)

    assert joined(rows) == text
    assert all(len(row.text()) >= PIECE_CHARACTERS // 2 for row in good(rows)[:-1])
    assert all(len(row.text()) < 2 * PIECE_CHARACTERS for row in good(rows))


def document(folder: Path, text: str, name: str = "book.txt") -> Source:
    """Write a document, and return it as a source."""
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    source = open_source(str(path), FIELDS, ("document",))
    assert isinstance(source, Source)
    return source


def split(source: Source) -> dict[str, list[Row]]:
    """Return the rows of each split."""
    found: dict[str, list[Row]] = {}
    for name, _, row in rows_by_split(source):
        assert isinstance(row, Row)
        found.setdefault(name, []).append(row)
    return found


@pytest.mark.parametrize("length", [1, 2, 9, 10, 19, 20, 21, 99, 100, 101, 1_000, 1_009])
@pytest.mark.parametrize("piece", [3, 10, 64, 5_000])
def test_one_text_is_split_by_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, piece: int
) -> None:
    """The first 90 % of its characters train, 5 % each are for validation and test; none is lost."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", piece)
    text = "".join("é\n 中x"[i * i % 5] for i in range(length))

    found = split(document(tmp_path, text))

    texts = {name: "".join(row.text() for row in rows) for name, rows in found.items()}
    train, validation, test = (texts.get(name, "") for name in ("train", "validation", "test"))
    assert train + validation + test == text
    assert len(train) == round(length * 0.9)
    assert len(train) + len(validation) == round(length * 0.95)
    for rows in found.values():
        assert [row.values[CONTINUES] for row in rows] == [i > 0 for i in range(len(rows))]
        assert all(row.text() for row in rows)


def test_the_exact_shares(tmp_path: Path) -> None:
    """Of 200 characters 180, 10 and 10, in their order, from one piece."""
    text = "".join(chr(0x4E00 + i) for i in range(200))

    found = split(document(tmp_path, text, "book.txt.gz"))

    assert {name: [row.text() for row in rows] for name, rows in found.items()} == {
        "train": [text[:180]],
        "validation": [text[180:190]],
        "test": [text[190:]],
    }


def test_documents_in_a_folder_are_not_split(tmp_path: Path) -> None:
    """Each file is a split as it stands."""
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text(f"The {name} text.\n" * 10)
    source = open_source(str(tmp_path), FIELDS, ("document",))
    assert isinstance(source, Source)

    found = split(source)

    assert not source.by_position
    assert {name: len(rows) for name, rows in found.items()} == {"train": 1, "validation": 1}
    assert found["validation"][0].text() == "The valid text.\n" * 10


def test_a_prepared_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and flags come back from disk as they were read."""
    monkeypatch.setattr("data.formats.documents.PIECE_CHARACTERS", 100)
    text = "A line of some words, é.\r\n" * 100
    source = document(tmp_path, text)

    dataset = prepare(source, FIELDS, directory=tmp_path / "prepared")

    stored = {name: list(dataset.batches(name, 4)) for name in dataset.sizes}
    texts = b"".join(piece for batches in stored.values() for batch in batches for piece in batch["text"])
    assert texts.decode() == text
    for name, rows in split(source).items():
        flags = [flag for batch in stored[name] for flag in batch[CONTINUES].tolist()]
        assert flags == [row.values[CONTINUES] for row in rows]
    assert dataset.sizes["train"] > 10
    assert dataset.names == {}


def write_pair(folder: Path, english: str | bytes, german: str | bytes, stem: str = "train") -> list[Path]:
    """Write two files that belong together, bytes packed."""
    paths = []
    for language, content in (("en", english), ("de", german)):
        path = folder / f"{stem}.{language}{'.gz' if isinstance(content, bytes) else ''}"
        path.write_bytes(gzip.compress(content) if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


def pair(line: int, source: str, target: str) -> Row:
    return Row(line, {"source": source, "target": target})


def test_lines_of_two_files_belong_together(tmp_path: Path) -> None:
    """The first file gives the first field; an empty line is an empty text, and the last needs no end."""
    paths = write_pair(tmp_path, "A dog.\n\nA cat.", "Ein Hund.\r\n\r\nEine Katze.\r\n")

    expected = [pair(1, "A dog.", "Ein Hund."), pair(2, "", ""), pair(3, "A cat.", "Eine Katze.")]
    assert list(read_parallel(paths, SIDES)) == expected
    assert next(read_parallel(paths[::-1], SIDES)) == pair(1, "Ein Hund.", "A dog.")


def test_packed_files_belong_together(tmp_path: Path) -> None:
    """One may be packed and the other not."""
    paths = write_pair(tmp_path, b"a\nb\n", "x\ny\n")

    assert list(read_parallel(paths, SIDES)) == [pair(1, "a", "x"), pair(2, "b", "y")]


@pytest.mark.parametrize("longer", ["en", "de"])
def test_files_of_unequal_length_are_refused(tmp_path: Path, longer: str) -> None:
    """Nobody knows where a line is missing; the message names the files and how many lines each has."""
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
    """The reason says in which of the files; lines still belong together behind them."""
    english, german = write_pair(tmp_path, "a\nb\nc\n", "x\n")
    german.write_bytes("x\né\nz\n".encode("latin-1"))

    assert list(read_parallel([english, german], SIDES)) == [
        pair(1, "a", "x"),
        BadRow(2, "train.de is not UTF-8: byte 0xe9 at character 1"),
        pair(3, "c", "z"),
    ]


def test_a_missing_file_of_a_pair(tmp_path: Path) -> None:
    """What can't be opened is the user's mistake."""
    paths = write_pair(tmp_path, "a\n", "x\n")
    paths[1].unlink()

    with pytest.raises(UserError, match=r"train\.de: cannot be read: No such file"):
        list(read_parallel(paths, SIDES))


def test_a_document_of_rows(tmp_path: Path) -> None:
    """A byte order mark is no part of the text."""
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n")

    assert list(read_rows(path, FIELDS, read_document)) == [Row(1, {"text": "a\n", CONTINUES: False})]


def find_pairs(data: Path) -> Source:
    source = open_source(str(data), SIDES, ("records",), ("en", "de"))
    assert isinstance(source, Source)
    return source


def test_a_folder_of_parallel_files(tmp_path: Path) -> None:
    """A split is a pair of files; packed ones count too, and other languages are let be."""
    write_pair(tmp_path, "a\nb\n", "x\ny\n")
    write_pair(tmp_path, b"c\n", "z\n", "dev")
    (tmp_path / "train.fr").write_text("no\nlines\nof\nthese\n")
    source = find_pairs(tmp_path)

    assert set(source.parts) == {"train", "validation"}
    assert list(source.parts["train"].rows()) == [pair(1, "a", "x"), pair(2, "b", "y")]
    assert list(source.parts["validation"].rows()) == [pair(1, "c", "z")]
    assert source.parts["train"].where == f"{tmp_path / 'train.en'} and {tmp_path / 'train.de'}"


def test_a_folder_that_lacks_a_side(tmp_path: Path) -> None:
    """The message names the file that is missing, of whichever split and side."""
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
    """The message has the names of both kinds that are looked for."""
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no training file; expected one of "
        "train.jsonl, train.csv, train.tsv, or train.en and train.de (or .gz); "
        "there is nothing"
    )


@pytest.mark.parametrize("side", [0, 1])
def test_a_pair_of_files(tmp_path: Path, side: int) -> None:
    """Either names both; the rows are split by their hash, equal ones together."""
    lines = [f"sentence {i % 300}\n" for i in range(600)]
    paths = write_pair(tmp_path, "".join(lines), "".join(lines).replace("sentence", "Satz").encode(), "My.v2")
    source = find_pairs(paths[side])
    found = split(source)

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
    """The message has the name that it would have."""
    english, german = write_pair(tmp_path, "a\n", "x\n")
    german.unlink()

    with pytest.raises(UserError) as caught:
        find_pairs(english)
    assert str(caught.value) == f"{german}: no such file; it is the other side of {english}"


def test_the_file_that_is_named_is_read(tmp_path: Path) -> None:
    """Beside a plain file with the same name, the packed one that was asked for counts."""
    write_pair(tmp_path, "old\n", "alt\n")
    english = write_pair(tmp_path, b"new\n", "alt\n")[0]

    rows = list(find_pairs(english).parts["all"].rows())

    assert rows == [pair(1, "new", "alt")]


def test_the_digest_is_of_both_sides(tmp_path: Path) -> None:
    """A byte of either makes it other data."""
    digests = set()
    for number, (english, german) in enumerate([("a", "x"), ("b", "x"), ("a", "y"), ("ax", ""), ("x", "a")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_pair(folder, english, german)
        digests.add(find_pairs(folder).digest())

    assert len(digests) == 5
