from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from data.embeddings import read_vectors
from data.errors import UserError

VOCABULARY = [b"", b"[UNK]", b"good", "größe".encode(), b"bad", b"7"]


def read(tmp_path: Path, content: str | bytes, size: int = 3) -> dict[int, list[float]]:
    """Return the vectors of a file, by token id."""
    path = tmp_path / "vectors.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {index: vector.tolist() for index, vector in read_vectors(path, VOCABULARY, size=size).items()}


def test_glove(tmp_path: Path) -> None:
    """A line is a token and its vector; tokens that are not in the vocabulary are skipped."""
    content = "the 1 2 3\ngood 0.5 -1e-2 3\nother 7 7 7\nbad 4 5 6\n"

    assert read(tmp_path, content) == {2: pytest.approx([0.5, -0.01, 3]), 4: [4, 5, 6]}


def test_vectors_are_numbers_of_the_network(tmp_path: Path) -> None:
    """Vectors are float32, like weights."""
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2 3\n")

    (vector,) = read_vectors(path, VOCABULARY, size=3).values()

    assert (vector.dtype, vector.shape) == (np.float32, (3,))


def test_word2vec(tmp_path: Path) -> None:
    """A header of two numbers has the number and size of the vectors; lines may end with a space."""
    assert read(tmp_path, "2 3\ngood 1 2 3 \nbad 4 5 6 \n") == {2: [1, 2, 3], 4: [4, 5, 6]}


def test_a_number_may_be_a_token(tmp_path: Path) -> None:
    """A token of digits is not a header of word2vec."""
    assert read(tmp_path, "7 1 2 3\ngood 1 1 1\n") == {5: [1, 2, 3], 2: [1, 1, 1]}


def test_other_scripts(tmp_path: Path) -> None:
    """Tokens are compared as UTF-8; invalid bytes in the file are no error."""
    content = "größe 1 2 3\n".encode() + b"caf\xe9 1 2 3\n" + "好 1 2 3\n".encode()

    assert read(tmp_path, content) == {3: [1, 2, 3]}


def test_tokens_with_spaces(tmp_path: Path) -> None:
    """A token may contain spaces, as some of GloVe do."""
    assert read(tmp_path, "the 1 2 3\n. . good 9 9 9\ngood 1 2 3\n") == {2: [1, 2, 3]}


def test_a_token_twice(tmp_path: Path) -> None:
    """The first vector of a token is used."""
    assert read(tmp_path, "good 1 2 3\ngood 4 5 6\n") == {2: [1, 2, 3]}


def test_padding_has_no_vector(tmp_path: Path) -> None:
    """An empty token in the file is not the padding token."""
    assert read(tmp_path, "the 1 2 3\n 4 5 6\n") == {}


def test_zipped(tmp_path: Path) -> None:
    """A `.gz` file is decompressed."""
    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(b"good 1 2 3\n"))

    assert list(read_vectors(path, VOCABULARY, size=3)) == [2]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("good 1 2\nbad 1 2\n", 2),
        ("good 1 2 3 4\nbad 1 2 3 4\n", 4),
        ("2 2\ngood 1 2\nbad 1 2\n", 2),
        ("good\t1\t2\nbad\t1\t2\n", 2),
        (". . . 1 2\nat 5 1 2\ngood 1 2\nbad 1 2\n", 2),
    ],
)
def test_other_sizes(tmp_path: Path, content: str, found: int) -> None:
    """Vectors of another size are an error; the message has the size that fits."""
    with pytest.raises(UserError) as raised:
        read(tmp_path, content)

    assert str(raised.value) == (
        f"{tmp_path / 'vectors.txt'}: the vectors have size {found}, but model.embedding_size is 3; "
        f"give --set model.embedding_size={found}"
    )
    assert read(tmp_path, content, size=found)[2] == [1, 2, 3, 4][:found]


@pytest.mark.parametrize(
    "content", ["the 1 2 3\ngood 1 2\n", "the 1 2 3\nbad 4 5 6\ngood 1", "2 3\nthe 1 2 3\ngoo"]
)
def test_a_last_line_that_is_cut_off(tmp_path: Path, content: str) -> None:
    """A last line with too few numbers is named as cut off; without it the file is read."""
    with pytest.raises(UserError, match=r"vectors\.txt:\d: \d numbers; .* the last line is cut off; "):
        read(tmp_path, content)

    lines = content.splitlines()[content.startswith("2 3") : -1]
    assert read(tmp_path, "\n".join(lines)) == ({4: [4, 5, 6]} if "bad" in content else {})


def test_a_line_that_is_too_short(tmp_path: Path) -> None:
    """A line with too few numbers within the file is named, and not called the last one."""
    with pytest.raises(
        UserError, match=r"vectors\.txt:2: 1 numbers; the other vectors have 3; correct or delete"
    ):
        read(tmp_path, "the 1 2 3\ngood 1\nbad 1 2 3\n")


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e400"])
def test_vectors_that_are_not_finite(tmp_path: Path, value: str) -> None:
    """A value that is not a finite number is refused with its line, and not blamed on the training."""
    with pytest.raises(
        UserError, match=rf"vectors\.txt:2: the vector has the value {value}; expected finite"
    ):
        read(tmp_path, f"the 1 2 3\ngood 1 {value} 3\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2 300\ngood 1 2 3\n", "1: the header says that the vectors have size 300, but they have size 3; "),
        (
            "3 3\ngood 1 2 3\n",
            " the header says that there are 3 vectors, but there are 1; the file is cut off",
        ),
    ],
)
def test_a_header_that_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    """A header that does not fit the vectors is named; without it the file is read."""
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)

    assert read(tmp_path, content.split("\n", 1)[1]) == {2: [1, 2, 3]}


@pytest.mark.parametrize(
    "content",
    [
        b"2 3\ngood \x00\x00\x80?\x00\x00\x00@\x00\x00@@\n",
        "good 1 2 3\n".encode("utf-16"),
        b"PK\x03\x04\x14\x00glove.txt",
        b"\x93NUMPY\x01\x00v\x00",
    ],
)
def test_binary_files(tmp_path: Path, content: bytes) -> None:
    """A binary file is refused as such."""
    with pytest.raises(UserError, match=r"vectors\.txt: .*(binary|archive|UTF-16)"):
        read(tmp_path, content)


def test_a_file_of_words_only(tmp_path: Path) -> None:
    """A file without numbers is refused."""
    with pytest.raises(UserError, match=r"vectors\.txt:1: not a word vector"):
        read(tmp_path, "good\nbad\n")


def test_no_vector(tmp_path: Path) -> None:
    """A line without numbers is an error; the message has its place."""
    with pytest.raises(UserError, match=r"vectors\.txt:2: not a word vector"):
        read(tmp_path, "the 1 2 3\ngood 1 two 3\n")


def test_no_file(tmp_path: Path) -> None:
    """The message about a missing file has its path and its configuration key."""
    with pytest.raises(UserError, match=r"model\.embeddings = '.*nowhere\.txt': No such file or directory"):
        read_vectors(tmp_path / "nowhere.txt", VOCABULARY, size=3)


def test_an_empty_line_at_the_end(tmp_path: Path) -> None:
    """An empty line at the end is ignored."""
    assert read(tmp_path, "good 1 2 3\n\n") == {2: [1, 2, 3]}


def test_a_truncated_file_of_vectors(tmp_path: Path) -> None:
    """A truncated `.gz` file is an error; the message has its path."""
    path = tmp_path / "vectors.txt.gz"
    lines = "".join(f"word{i} {i} {i * 7 % 13} {i * 5 % 17}\n" for i in range(2000))
    path.write_bytes(gzip.compress(lines.encode())[:3000])

    with pytest.raises(UserError, match=r"vectors\.txt\.gz"):
        read_vectors(path, VOCABULARY, size=3)
