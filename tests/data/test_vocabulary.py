from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.vocabulary import most_frequent, read_vocabulary, write_vocabulary

# Bytes of every kind: any, those of any text, and those that the file's escapes are made of.
TOKENS = st.one_of(
    st.binary(max_size=8),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", errors="surrogatepass")),
    st.text("\\nrx89af0\n\r\x80\xff", max_size=8).map(lambda text: text.encode("latin-1")),
)


def written(tokens: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Return the content of a vocabulary file, and the tokens that are read from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocabulary.txt")
        write_vocabulary(path, tokens)
        return path.read_bytes(), read_vocabulary(path)


@given(st.lists(TOKENS, max_size=20))
def test_any_bytes_survive(tokens: list[bytes]) -> None:
    """Tokens of any bytes are read as they were written; the file is UTF-8 with one token per line."""
    content, found = written(tokens)

    assert found == tokens
    assert content.decode().count("\n") == len(tokens)
    assert "\r" not in content.decode()


@pytest.mark.parametrize(
    ("token", "line"),
    [
        (b"", ""),
        (b"good", "good"),
        ("größe 好 👍".encode(), "größe 好 👍"),
        (b"\n", "\\n"),
        (b"\r", "\\r"),
        (b"\\", "\\\\"),
        (b"\\n", "\\\\n"),
        (b"\\x80", "\\\\x80"),
        (b"\x80", "\\x80"),
        (b"caf\xe9", "caf\\xe9"),
        (b" \t", " \t"),
        ("\u2028\u0085\ufeff".encode(), "\u2028\u0085\ufeff"),
    ],
)
def test_how_tokens_are_written(token: bytes, line: str) -> None:
    """Only what is not valid in a line of UTF-8 is escaped."""
    content, found = written([token, b"next"])

    assert content.decode() == f"{line}\nnext\n"
    assert found == [token, b"next"]


def test_an_empty_vocabulary() -> None:
    """Without tokens the file is empty."""
    assert written([]) == (b"", [])


def kept(tokens: list[bytes], counts: list[int], *, most: int, min_count: int = 1) -> list[bytes]:
    """Return the tokens that a vocabulary keeps, in its order."""
    return [tokens[i] for i in most_frequent(tokens, np.array(counts), most=most, min_count=min_count)]


def test_the_most_frequent_come_first() -> None:
    """Tokens are sorted by count, and tokens of the same count by their bytes."""
    tokens = [b"rare", b"film", b"the", b"cast", "ähnlich".encode(), b"Zoo"]
    counts = [1, 5, 9, 5, 5, 5]

    assert kept(tokens, counts, most=10) == [b"the", b"Zoo", b"cast", b"film", "ähnlich".encode(), b"rare"]
    assert kept(tokens, counts, most=3) == [b"the", b"Zoo", b"cast"]
    assert kept(tokens, counts, most=0) == []


def test_order_of_appearance_does_not_matter() -> None:
    """The vocabulary does not depend on the order of the tokens."""
    tokens, counts = [b"a", b"b", b"c", b"d"], [2, 3, 2, 1]

    assert kept(tokens, counts, most=3) == kept(tokens[::-1], counts[::-1], most=3) == [b"b", b"a", b"c"]


def test_rare_tokens_are_left_out() -> None:
    """Tokens below the minimum count are left out, and so are those with a count of 0."""
    tokens, counts = [b"a", b"b", b"c", b"d"], [3, 2, 1, 0]

    assert kept(tokens, counts, most=10, min_count=2) == [b"a", b"b"]
    assert kept(tokens, counts, most=10) == [b"a", b"b", b"c"]
    assert kept(tokens, counts, most=10, min_count=4) == []
