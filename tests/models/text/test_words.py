from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.text.tokens import PADDING, UNKNOWN
from models.text.words import MOST_CHARACTERS, WordEncoder, lookup_key

VOCABULARY = [PADDING, UNKNOWN, b"the", b"don't", "παρα".encode()]
CHARACTERS = [PADDING, UNKNOWN, b"t", b"T", b"h", b"e", b"'", "π".encode()]


def encode(rows: list[list[str]], *, lowercase: bool = True) -> dict[str, np.ndarray]:
    """Return the results of a word encoder for rows of words."""
    encoder = WordEncoder(VOCABULARY, CHARACTERS, lowercase=lowercase)
    return {name: value.numpy() for name, value in encoder(tf.ragged.constant(rows, dtype=tf.string)).items()}


def test_encoder() -> None:
    """Words are looked up in lower case, characters with case; each distinct word has one row."""
    found = encode([["The", "the", "x"], [], ["the"]])

    assert found["token_ids"].tolist() == [[2, 2, 1], [0, 0, 0], [2, 0, 0]]
    assert found["lengths"].tolist() == [3, 1, 1]
    # The first type is that of padding, and of rows without tokens.
    assert found["word_types"].tolist() == [[1, 2, 3], [0, 0, 0], [2, 0, 0]]
    assert found["characters"].tolist() == [[0, 0, 0], [3, 4, 5], [2, 4, 5], [1, 0, 0]]
    assert found["character_lengths"].tolist() == [1, 3, 3, 1]
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize("rows", [[[]], [[], []]])
def test_rows_without_tokens(rows: list[list[str]]) -> None:
    """Rows without tokens are one step of padding each."""
    found = encode(rows)

    assert found["token_ids"].tolist() == found["word_types"].tolist() == [[0]] * len(rows)
    assert found["lengths"].tolist() == [1] * len(rows)
    assert found["characters"].tolist() == [[0]]
    assert found["character_lengths"].tolist() == [1]


def test_an_empty_word() -> None:
    """An empty word in a row is an unknown token, not padding."""
    found = encode([["the", "", "the"]])

    assert found["token_ids"].tolist() == [[2, 1, 2]]
    assert found["lengths"].tolist() == [3]


def test_case() -> None:
    """With case, only the exact spelling of a word is known."""
    assert encode([["The", "the"]], lowercase=False)["token_ids"].tolist() == [[1, 2]]


def test_apostrophes() -> None:
    """A typographic apostrophe counts as a plain one in words, but not in characters."""
    found = encode([["don’t", "DON'T", "’"]])

    assert found["token_ids"].tolist() == [[3, 3, 1]]
    assert found["characters"][3].tolist() == [1, 0, 0, 0, 0]


def test_long_words() -> None:
    """A long word loses its middle."""
    half = MOST_CHARACTERS // 2
    found = encode([["t" * half + "e" * 50 + "h" * half], ["π" * 100]])

    assert found["characters"].shape[1] == MOST_CHARACTERS
    assert found["characters"][1].tolist() == [2] * half + [4] * half
    assert found["character_lengths"].tolist() == [1, MOST_CHARACTERS, MOST_CHARACTERS]


def test_lookup_key() -> None:
    """Keys are valid UTF-8, in lower case on request, with plain apostrophes."""
    words = tf.constant(["İT’S".encode(), "ΌΜΩΣ".encode(), b"a\xffB", b""])

    assert lookup_key(words, True).numpy().tolist() == [
        "i\u0307t's".encode(),
        "όμως".encode(),
        "a\ufffdb".encode(),
        b"",
    ]
    assert lookup_key(words, False).numpy().tolist() == [
        "İT'S".encode(),
        "ΌΜΩΣ".encode(),
        "a\ufffdB".encode(),
        b"",
    ]
