from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.detokenize import detokenize
from models.text.normalize import normalize
from models.text.subwords import SubwordTokenizer
from models.text.tokenize import tokenize
from models.text.tokens import NEWLINE, TokenKind

SENTENCES = [
    "He didn't say so, but she'd know: it's late.",
    "What? Who! (All of them; 90% at least.) [See below.]",
    "They've paid $5 and £1,000.50 at 10:30...",
    "I’m sure we'll go; you're not, I don't think.",
    "First line,\nsecond line.\n\n(A new one.)\n",
    "\nBegins with a break",
    "No stop at the end",
    "No! No! No!",
    "",
]
# Words of all kinds; what is written close comes twice, so that it often stands next to itself.
WORDS = [
    *("a", "word", "7", "3.14", '"', "-", "--", "don", "'", "中", "👍🏽", "␤", "\\1"),
    *(
        [".", ",", "!", "?", ";", ":", "%", ")", "]", "}", "…", "...", "n't", "'s", "'LL", "(", "[", "$", "€"]
        * 2
    ),
]


def subwords() -> SubwordTokenizer:
    """Return subwords of a few letters."""
    pieces = {"▁": -2.0, "a": -3.0, "b": -3.0, "▁ab": -2.5, "ba": -2.5, "\n": -3.0, "é": -4.0}
    return SubwordTokenizer([piece.encode() for piece in pieces], list(pieces.values()))


def written(tokens: list[str], kind: TokenKind = "word") -> str:
    """Return one text that tokens are written as."""
    pieces = tf.ragged.constant([[token.encode() for token in tokens]], dtype=tf.string, ragged_rank=1)
    return str(detokenize(pieces, kind).numpy()[0].decode())


def there_and_back(text: str | bytes, kind: TokenKind, **options: Any) -> bytes:
    """Return a text cut into tokens and written again."""
    pieces = tokenize(tf.constant([text]), tokens=kind, lowercase=False, lines=True, **options)
    found: bytes = detokenize(pieces, kind).numpy()[0]
    return found


# Words


@pytest.mark.parametrize("text", SENTENCES)
def test_words_of_english(text: str) -> None:
    """English comes back as it was: punctuation and contractions stand close, lines end where they ended."""
    first = " " if text[:1] not in ("", "\n") else ""

    assert there_and_back(text, "word").decode() == first + text.replace("’", "'")


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("a b", " a b"),
        ("a . b", " a. b"),
        ("a . . . . b", " a.... b"),
        ("! ! ! ! !", "!!!!!"),
        ("( [ a ] )", " ([a])"),
        ("$ 5 %", " $5%"),
        ("ca n't 've", " can't've"),
        ("CA N'T IT 'S", " CAN'T IT'S"),
        ("a ␤ ␤ b", " a\n\nb"),
        ("␤ ( a", "\n(a"),
        ("( ␤ a ␤ )", " (\na\n)"),
        ("an 'tis n'ta 'sb", " an 'tis n'ta 'sb"),
        ("a .b 3.14", " a .b 3.14"),
    ],
)
def test_words(tokens: str, text: str) -> None:
    """What stands close to what, however many of them stand in a row; part of a token is no token."""
    assert written(tokens.split(" ")) == text


@given(st.lists(st.sampled_from(WORDS), max_size=12), st.integers(0, 12))
@example(["a", ".", ".", "."], 3)
@example(["(", "␤", "."], 2)
@settings(deadline=None, max_examples=60)
def test_more_words_change_nothing(tokens: list[str], shown: int) -> None:
    """A text that goes on begins with what it was before: it can be shown while it grows."""
    assert written(tokens).startswith(written(tokens[:shown]))


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=6), max_size=5))
@example([["("], ["a"]])
@example([[], ["("], [], ["a", "("], ["."]])
@settings(deadline=None, max_examples=40)
def test_rows_of_words(rows: list[list[str]]) -> None:
    """A row is written as it is alone: an opening bracket at the end of the one before opens nothing."""
    pieces = tf.ragged.constant(rows, dtype=tf.string, ragged_rank=1)

    assert [text.decode() for text in detokenize(pieces, "word").numpy()] == [written(row) for row in rows]


@given(st.lists(st.sampled_from(WORDS), max_size=12))
@settings(deadline=None, max_examples=40)
def test_no_word_is_lost(tokens: list[str]) -> None:
    """But for spaces and line breaks a text is its tokens."""
    text = written(tokens)

    assert text.replace(" ", "").replace("\n", NEWLINE.decode()) == "".join(tokens)
    assert "  " not in text


# Other tokens


@given(st.text(max_size=30))
@example("  two  spaces \n\n\x00 \r\n ")
@settings(deadline=None, max_examples=40)
def test_characters(text: str) -> None:
    """Characters are written as they stand."""
    assert there_and_back(text, "char").decode() == text


@given(st.binary(max_size=30))
@example("é".encode()[:1] + b" \xff\n")
@settings(deadline=None, max_examples=40)
def test_bytes(text: bytes) -> None:
    """So are bytes, also those that are no UTF-8."""
    assert there_and_back(text, "byte") == text


@given(st.text("ab \né", max_size=20))
@example("  ab  \n ab")
@settings(deadline=None, max_examples=40)
def test_subwords(text: str) -> None:
    """Subwords begin with the space that cutting adds to a text; nothing else is added or lost."""
    assert there_and_back(text, "subword", subwords=subwords()).decode() == (f" {text}" if text else "")


@pytest.mark.parametrize("kind", ["word", "char", "byte", "subword"])
def test_empty_rows(kind: TokenKind) -> None:
    """No tokens are no text, whether some rows have none, or all, or there is no row."""
    for rows in ([[], ["a"], []], [[], []], []):
        pieces = tf.RaggedTensor.from_row_lengths(
            tf.constant([token for row in rows for token in row], tf.string),
            tf.constant([len(row) for row in rows], tf.int64),
        )
        texts = detokenize(pieces, kind).numpy().tolist()
        assert texts == [
            b" a" if row and kind == "word" else b"".join(t.encode() for t in row) for row in rows
        ]


@pytest.mark.parametrize("kind", ["word", "char", "subword"])
def test_in_a_graph(kind: TokenKind) -> None:
    """A graph of any number of rows and tokens writes the same."""
    graph = tf.function(
        lambda pieces: detokenize(pieces, kind),
        input_signature=[tf.RaggedTensorSpec([None, None], tf.string, ragged_rank=1)],
    )
    for rows in ([["(", "a", ")"], [], ["␤", "b"]], [[]]):
        pieces = tf.ragged.constant(rows, dtype=tf.string, ragged_rank=1)
        assert graph(pieces).numpy().tolist() == detokenize(pieces, kind).numpy().tolist()


# What is cut


def test_lines_are_tokens_of_words() -> None:
    """With `lines` each line break is a token, however many stand together; without, it separates words."""
    text = tf.constant(["One.\n\n two\r\nthree\n"])

    cut = tokenize(text, lines=True).to_list()[0]

    assert [token.decode() for token in cut] == ["one", ".", "␤", "␤", "two", "␤", "three", "␤"]
    assert tokenize(text).to_list()[0] == [b"one", b".", b"two", b"three"]


@pytest.mark.parametrize("kind", ["char", "byte", "subword"])
def test_lines_of_other_tokens(kind: TokenKind) -> None:
    """Other tokens hold line breaks anyway."""
    options: dict[str, Any] = {"tokens": kind, "subwords": subwords() if kind == "subword" else None}
    text = tf.constant(["ab\nba"])

    assert tokenize(text, lines=True, **options).to_list() == tokenize(text, **options).to_list()
    assert b"\n" in tokenize(text, lines=True, **options).to_list()[0]


@pytest.mark.parametrize(
    ("text", "lowercase", "expected"),
    [
        ("Größe ΟΔΟ".encode(), True, "größe οδο"),
        ("Größe ΟΔΟ".encode(), False, "Größe ΟΔΟ"),
        (b"caf\xe9 \xff\xfe", False, "caf� ��"),
        (b"A\x00B", True, "a b"),
        (b"", True, ""),
    ],
)
def test_normalize(text: bytes, lowercase: bool, expected: str) -> None:
    """A text becomes UTF-8, in lower case if asked for."""
    assert normalize(tf.constant([text]), lowercase).numpy()[0].decode() == expected
