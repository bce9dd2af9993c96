"""Visible characters of texts, windows over them, and tokens from a decision at each character."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.text.boundaries import CONTEXT, STRIDE, located_tokens, read_characters, token_edges, windows
from models.text.code_points import class_table
from models.text.normalize import normalize

CLASS_OF = class_table()
ENGLAND = "🏴" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbeng") + chr(0xE007F)
FAMILY, FLAG, THUMB = "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽"


def _located(texts: list[str | bytes], decision: bool) -> list[list[tuple[str, int, int]]]:
    """Return the tokens of texts if the decision at every character is the same, and check positions."""
    characters = read_characters(tf.constant(texts), CLASS_OF)
    decisions = tf.fill(tf.shape(characters.visible.code_points), decision)
    tokens, starts, ends = located_tokens(characters, *token_edges(characters.visible, decisions))
    found = [
        [(token.decode(), start, end) for token, start, end in zip(*row, strict=True)]
        for row in zip(tokens.to_list(), starts.to_list(), ends.to_list(), strict=True)
    ]
    for text, row in zip(normalize(tf.constant(texts), lowercase=False).numpy(), found, strict=True):
        assert [token for token, _, _ in row] == [text.decode()[start:end] for _, start, end in row]
    return found


def _words(texts: list[str | bytes], decision: bool) -> list[list[str]]:
    return [[token for token, _, _ in row] for row in _located(texts, decision)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t\u00a0\r\n", []),
        ("\u200b\ufeff", []),
        ("ab c", ["a", "b", "c"]),
        ("e\u0301x", ["e\u0301", "x"]),
        (f"{FAMILY}!", [FAMILY, "!"]),
        (f"{THUMB}{THUMB}", [THUMB, THUMB]),
        (f"x{FLAG}{FLAG}\U0001f1eb", ["x", FLAG, FLAG, "\U0001f1eb"]),
        ("❤\ufe0f❤\ufe0f", ["❤\ufe0f", "❤\ufe0f"]),
        (f"{ENGLAND}\u200b{ENGLAND}", [ENGLAND, ENGLAND]),
        ("หนึ่ง", ["ห", "นึ่", "ง"]),
    ],
)
def test_every_character_ends_a_token(text: str, tokens: list[str]) -> None:
    """What a person sees as one character is never split, and invisible characters are no tokens."""
    assert _words([text], True) == [tokens]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("20 000 km", ["20 000 km"]),
        ("20\u00a0000", ["20\u00a0000"]),
        ("20  000", ["20", "000"]),
        (" a b ", ["a b"]),
        ("a\nb\r\nc\td\x00e", ["a", "b", "c", "d", "e"]),
        ("co\u00adop\u200b.", ["co\u00adop\u200b."]),
        ("\ufeffa \u200db\u200d", ["a \u200db"]),
    ],
)
def test_no_character_ends_a_token(text: str, tokens: list[str]) -> None:
    """Only a single space can be inside a token; other white space always separates."""
    assert _words([text], False) == [tokens]


def test_positions_count_characters() -> None:
    """Positions count the characters of the text, invisible ones and replaced bytes, too."""
    texts: list[str | bytes] = ["\ufeffa", b"a\xff b", "\u00ad \u00adc\u00ad", f"{FAMILY}{FLAG}x"]

    assert _located(texts, True) == [
        [("a", 1, 2)],
        [("a", 0, 1), ("\ufffd", 1, 2), ("b", 3, 4)],
        [("c", 3, 4)],
        [(FAMILY, 0, 5), (FLAG, 5, 7), ("x", 7, 8)],
    ]


@pytest.mark.parametrize("decision", [False, True])
def test_rows_are_independent(decision: bool) -> None:
    """The tokens of a text do not depend on the texts beside it."""
    texts: list[str | bytes] = ["", "a", " ", "\u200d", "\u0301b c", FLAG[:1], FLAG[1:] + " ", "x y", ""]

    assert _words(texts, decision) == [_words([text], decision)[0] for text in texts]


@pytest.mark.parametrize("stride", [STRIDE, 5])
def test_windows(stride: int) -> None:
    """A window is a piece of one text, and each character is decided on by a window that sees its context."""
    lengths = np.array([0, 1, stride, stride + CONTEXT, stride + CONTEXT + 1, 7 * stride + 3, 0], np.int32)
    places, widths, decided = (value.numpy() for value in windows(tf.constant(lengths), stride))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths

    assert len(widths) <= len(lengths) + lengths.sum() // stride
    assert widths.min() >= 1
    assert (places.ravel() <= lengths.sum()).all()
    np.testing.assert_array_equal(places[decided[:, 0], decided[:, 1]], np.arange(lengths.sum()))
    for character, (window, _) in enumerate(decided):
        row = rows[character]
        first, end = starts[row], starts[row] + lengths[row]
        seen = places[window, : widths[window]]
        np.testing.assert_array_equal(seen, np.arange(seen[0], seen[0] + len(seen)))
        assert first <= seen[0] <= max(first, character - CONTEXT)
        assert min(end - 1, character + CONTEXT) <= seen[-1] < end
